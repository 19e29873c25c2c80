"""The state of the household and its rules: which moves are possible, and their effects. It writes no texts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from metagym.envs.alfworld.grammar import Wording
from metagym.envs.alfworld.pddl import Atom, GroundGoal, Grounding, PddlError, Problem, ground_goal

PLACES = ("atlocation", "objectatlocation", "inreceptacle", "holds", "holdsany", "opened")
STATES = {"clean": "isclean", "heat": "ishot", "cool": "iscool", "use": "istoggled", "slice": "issliced"}
"""The state of an object after each of these moves."""
FLUENTS = frozenset({*PLACES, *STATES.values()})
"""The predicates that moves change. All other facts hold from start to end."""

TOOLS = {"clean": "sinkbasintype", "heat": "microwavetype", "cool": "fridgetype"}
"""The receptacle for each of the three treatments. It need not be open."""
KNIVES = ("knifetype", "butterknifetype")


class Move(NamedTuple):
    """A possible move."""

    rule: str
    receptacle: str = ""
    object: str = ""
    tool: str = ""


class Layout:
    """What never changes in a game: things, names, properties and the goal. Plays may share it."""

    def __init__(self, problem: Problem) -> None:
        kinds = defaultdict(list)
        for name, kind in sorted(problem.objects.items()):
            kinds[kind].append(name)
        if len(kinds["agent"]) != 1:
            raise PddlError(f"expected one agent, got {len(kinds['agent'])}")
        (self.agent,) = kinds["agent"]
        self.static = frozenset(fact for fact in problem.facts if fact[0] not in FLUENTS)
        self.start = frozenset(fact for fact in problem.facts if fact[0] in FLUENTS)
        locations = [fact[2] for fact in self.start if fact[:2] == ("atlocation", self.agent)]
        if len(locations) != 1:
            raise PddlError(f"expected the agent at one location, got {len(locations)}")
        (self.first_location,) = locations
        self.goal: GroundGoal = ground_goal(problem.goal, problem, lambda predicate: predicate not in FLUENTS)
        self.location = {fact[1]: fact[2] for fact in self.static if fact[0] == "receptacleatlocation"}
        self.receptacles = sorted(self.location)
        self.neighbours: dict[str, list[str]] = {}
        for receptacle in self.receptacles:
            self.neighbours.setdefault(self.location[receptacle], []).append(receptacle)
        mentioned = {argument for fact in problem.facts for argument in fact[1:]}
        self.names = number_names(mentioned)
        self.objects = [name for name in kinds["object"] if name in mentioned]
        types = defaultdict(set)
        for predicate, thing, kind in (fact for fact in self.static if len(fact) == 3):
            if predicate in ("objecttype", "receptacletype"):
                types[thing].add(kind)
        self.types = {item: frozenset(types[item]) for item in (*self.objects, *self.receptacles)}
        self.inside = sorted(fact[1:] for fact in self.static if fact[0] == "inreceptacleobject")

    def has(self, *fact: str) -> bool:
        """Return whether `fact` holds from start to end."""
        return fact in self.static

    def fits(self, thing: str, receptacle: str) -> bool:
        """Return whether `receptacle` can hold `thing`."""
        pairs = ((kind, other) for kind in self.types[receptacle] for other in self.types[thing])
        return any(("cancontain", *pair) in self.static for pair in pairs)


def number_names(ids: set[str]) -> dict[str, str]:
    """Return the names that players see: the type and a number, counted *down* over the sorted ids.

    An id without `_bar_` gets no number but keeps the blank, as in stock ALFWorld.
    """
    kinds = {
        item: item.split("_bar_", 1)[0] + ("basin" if "basin" in item else "")
        for item in sorted(ids)
        if "_bar_" in item
    }
    names = {item: f"{item} " for item in ids}
    left: dict[str, int] = defaultdict(int)
    for kind in kinds.values():
        left[kind] += 1
    for item, kind in kinds.items():
        names[item] = f"{kind} {left[kind]}"
        left[kind] -= 1
    return names


class World:
    """The state of one play: a set of facts, which the rules read and change."""

    def __init__(self, layout: Layout, wording: Wording) -> None:
        self.layout, self._wording = layout, wording
        self.facts: set[Atom] = set(self.layout.start)
        self.taken: set[tuple[str, str]] = set()
        """Pairs (object, receptacle): taken from there and not put back yet. Stock ALFWorld's texts depend on it."""
        self.here = self.layout.first_location

    def won(self) -> bool:
        """Return whether the goal holds."""
        return all(any(self.facts.issuperset(atoms) for atoms in part) for part in self.layout.goal)

    def progress(self) -> float:
        """Return how much of the goal is reached, from 0 (as at the start) to 1 (won).

        It is the share of the goal's facts that hold, beyond those of the start; an object in the hand counts half of
        one that was put. Parts of a goal have equal weight, and the best objects for a part count.
        """
        parts = [max(map(self._share, part), default=0.0) for part in self.layout.goal]
        return max(0.0, sum(parts) / len(parts))

    def _share(self, atoms: Grounding) -> float:
        at_start = sum(atom in self.layout.start for atom in atoms)
        if at_start == len(atoms):
            return float(self.facts.issuperset(atoms))
        agent, count = self.layout.agent, 0.0
        for atom in atoms:
            if atom in self.facts:
                count += 1
            elif atom[0] == "inreceptacle" and ("holds", agent, atom[1]) in self.facts:
                count += 0.5
        return (count - at_start) / (len(atoms) - at_start)

    def held(self) -> list[str]:
        """Return the objects that the agent holds."""
        return sorted(fact[2] for fact in self.facts if fact[0] == "holds")

    def around(self) -> list[str]:
        """Return the receptacles at the agent's location."""
        return self.layout.neighbours.get(self.here, [])

    def contents(self, receptacle: str) -> list[str]:
        """Return the objects in or on `receptacle`, visible or not."""
        return [item for item in self.layout.objects if ("inreceptacle", item, receptacle) in self.facts]

    def is_reachable(self, receptacle: str) -> bool:
        """Return whether things can be put into `receptacle` and taken out."""
        return not self.layout.has("openable", receptacle) or ("opened", receptacle) in self.facts

    def moves(self) -> dict[str, Move]:
        """Return the possible moves by command, sorted by command."""
        found: dict[str, Move] = {}
        for command, move in self._moves():
            # An object in two receptacles gives the same command twice; the first move counts.
            found.setdefault(command, move)
        return dict(sorted(found.items()))

    def _moves(self) -> Iterator[tuple[str, Move]]:
        names, layout, held = self.layout.names, self.layout, self.held()
        yield "look", Move("look")
        yield "inventory", Move("inventory")
        if self._wording.help_text is not None:
            yield "help", Move("help")
        for receptacle in layout.receptacles:
            # Going to a receptacle at the agent's location would change nothing, so the planner prunes it.
            if layout.location[receptacle] != self.here:
                yield f"go to {names[receptacle]}", Move("go", receptacle)
        for item in held:
            # The domain was meant to allow examining things in sight, too, but a stray comma disables that rule.
            yield f"examine {names[item]}", Move("examine object", object=item)
            if not layout.types[item].isdisjoint(KNIVES):
                for thing in layout.objects:
                    if layout.has("sliceable", thing) and ("objectatlocation", thing, self.here) in self.facts:
                        command = f"slice {names[thing]} with {names[item]}"
                        yield command, Move("slice", object=thing, tool=item)
        for receptacle in self.around():
            yield from self._moves_at(receptacle, held)

    def _moves_at(self, receptacle: str, held: list[str]) -> Iterator[tuple[str, Move]]:
        names, layout, name = self.layout.names, self.layout, self.layout.names[receptacle]
        yield f"examine {name}", Move("examine receptacle", receptacle)
        if layout.has("openable", receptacle):
            verb = "close" if ("opened", receptacle) in self.facts else "open"
            yield f"{verb} {name}", Move(verb, receptacle)
        for item in self.contents(receptacle):
            if layout.has("toggleable", item):
                yield f"use {names[item]}", Move("use", receptacle, item)
            is_free = ("holdsany", layout.agent) not in self.facts
            if is_free and layout.has("pickupable", item) and self.is_reachable(receptacle):
                yield f"take {names[item]} from {name}", Move("take", receptacle, item)
        for item in held:
            if layout.fits(item, receptacle) and self.is_reachable(receptacle):
                command = self._wording.put_command.format(o=names[item], r=name)
                yield command, Move("put", receptacle, item)
            for verb, tool in TOOLS.items():
                if tool in layout.types[receptacle] and layout.has(f"{verb}able", item):
                    yield f"{verb} {names[item]} with {name}", Move(verb, receptacle, item)

    def apply(self, move: Move) -> None:
        """Change the state by `move`."""
        rule, receptacle, item = move.rule, move.receptacle, move.object
        agent, facts = self.layout.agent, self.facts
        if rule == "go":
            facts.discard(("atlocation", agent, self.here))
            self.here = self.layout.location[receptacle]
            facts.add(("atlocation", agent, self.here))
        elif rule == "open":
            facts.add(("opened", receptacle))
        elif rule == "close":
            facts.discard(("opened", receptacle))
        elif rule == "take":
            facts.discard(("inreceptacle", item, receptacle))
            facts.discard(("objectatlocation", item, self.here))
            facts.update({("holds", agent, item), ("holdsany", agent)})
            self.taken.add((item, receptacle))
        elif rule == "put":
            facts.difference_update({("holds", agent, item), ("holdsany", agent)})
            facts.update({("inreceptacle", item, receptacle), ("objectatlocation", item, self.here)})
            self.taken.discard((item, receptacle))
        elif rule in STATES:
            facts.add((STATES[rule], item))
            if rule in ("heat", "cool"):
                facts.discard((STATES["cool" if rule == "heat" else "heat"], item))
