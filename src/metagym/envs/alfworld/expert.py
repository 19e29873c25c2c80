"""A scripted player that reads only the texts: it searches, fetches and puts down. With all skills it is the expert.

The expert wins all six families; it serves tests, demonstrations and upper bounds. The demo actor is the same player
with the skills that its prompt names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from metagym.envs.alfworld.generated.rooms import read_pack
from metagym.types import Action, Episode, Observation, Step

TOOLS = {"clean": "sinkbasin", "heat": "microwave", "cool": "fridge"}

_GOALS = (
    re.compile(r"(?:put|find) (?P<two>two) (?P<target>\w+) (?:and put them )?in (?P<place>\w+)"),
    re.compile(r"put a (?P<state>clean|hot|cool) (?P<target>\w+) in (?P<place>\w+)"),
    re.compile(r"(?P<state>clean|heat|cool) some (?P<target>\w+) and put it in (?P<place>\w+)"),
    re.compile(r"put (?:a|some) (?P<target>\w+) (?:in|on) (?P<place>\w+)"),
    re.compile(r"look at (?P<target>\w+) under the (?P<lamp>\w+)"),
    re.compile(r"examine the (?P<target>\w+) with the (?P<lamp>\w+)"),
)
_ROOM = re.compile(r"Looking quickly around you, you see (.+?)\.(?:\n|$)")
_SEEN = re.compile(r"(?:On the (.+?)|The (.+?) is open\. In it), you see (.+?)\.")
_CLOSED = re.compile(r"The (\w+ \d+) is closed\.")
_TOOK = re.compile(r"You pick up the (\w+ \d+) from the (\w+ \d+)\.")
_PUT = re.compile(r"You (?:move|put) the (\w+ \d+) (?:to|in/on) the (\w+ \d+)\.")
_TREATED = re.compile(r"You (clean|heat|cool) the (\w+ \d+) using")
_ITEM = re.compile(r"\ba (\w+ \d+)")


class Goal(NamedTuple):
    """The goal in a task's sentence."""

    target: str
    place: str = ""
    treatment: str = ""
    """`clean`, `heat`, `cool`, or nothing."""
    lamp: str = ""
    number: int = 1
    """How many objects of the type `target`."""


def read_goal(text: str) -> Goal | None:
    """Return the goal in a sentence; None if no template of ALFWorld fits the sentence.

    >>> read_goal("heat some egg and put it in garbagecan.")
    Goal(target='egg', place='garbagecan', treatment='heat', lamp='', number=1)
    """
    for pattern in _GOALS:
        if found := pattern.search(text):
            parts = found.groupdict()
            state = parts.get("state", "")
            return Goal(
                target=parts["target"],
                place=parts.get("place", ""),
                treatment="heat" if state == "hot" else state,
                lamp=parts.get("lamp", ""),
                number=2 if "two" in parts else 1,
            )
    return None


class Memory:
    """The facts that an episode's texts have shown so far."""

    def __init__(self) -> None:
        self.receptacles: list[str] = []
        self.contents: dict[str, list[str]] = {}
        """The things in each receptacle that was looked into."""
        self.closed: set[str] = set()
        self.carrying = ""
        self.treated: set[tuple[str, str]] = set()
        self.put_down: dict[str, str] = {}
        """The receptacle that the player put each thing into."""

    def read(self, text: str) -> None:
        """Read one observation."""
        if found := _ROOM.search(text):
            self.receptacles = self.receptacles or _ITEM.findall(found[1])
        for on, inside, listed in _SEEN.findall(text):
            self.contents[on or inside] = _ITEM.findall(listed)
            self.closed.discard(on or inside)
        self.closed.update(_CLOSED.findall(text))
        for item, receptacle in _TOOK.findall(text):
            self.carrying = item
            self.put_down.pop(item, None)
            self.contents[receptacle] = [other for other in self.contents.get(receptacle, []) if other != item]
        for item, receptacle in _PUT.findall(text):
            self.carrying = ""
            self.put_down[item] = receptacle
            self.contents.setdefault(receptacle, []).append(item)
        for treatment, item in _TREATED.findall(text):
            self.treated.add((treatment, item))

    def find(self, kind: str) -> list[tuple[str, str]]:
        """Return the seen things of that type, with their receptacles."""
        return [
            (item, receptacle) for receptacle, items in self.contents.items() for item in items if _kind(item) == kind
        ]


def remember(steps: Sequence[Step], observation: Observation) -> Memory:
    """Return the facts that an episode's observations have shown."""
    memory = Memory()
    for seen in (*(step.observation for step in steps), observation):
        # After a rejected action the same observation comes once more, with feedback.
        if not seen.feedback:
            memory.read(seen.text)
    return memory


class TextPlayer:
    """Chooses the next command from a memory and skills.

    It can walk, take and put down. Other skills: `open`, `lamp`, `second` (it fetches the second object), and the
    treatments `clean`, `heat` and `cool`, which it gives an object in the order of `skills`.
    """

    def __init__(self, goal: Goal, skills: Sequence[str], memory: Memory, available: Sequence[str]) -> None:
        self.goal, self.skills, self.memory, self.available = goal, skills, memory, available

    def next_command(self) -> str:
        """Return the next command."""
        carrying, goal = self.memory.carrying, self.goal
        if not carrying:
            return self._fetch(goal.target)
        if _kind(carrying) != goal.target:
            return self._first(f"move {carrying} to ", f"put {carrying} ") or self._search()
        if goal.lamp:
            return self._to_lamp() if "lamp" in self.skills else f"examine {carrying}"
        for skill in self.skills:
            if skill in TOOLS and (skill, carrying) not in self.memory.treated:
                return self._treat(carrying, skill)
        return self._put(carrying)

    def _fetch(self, kind: str) -> str:
        done = {item for item, place in self.memory.put_down.items() if _kind(place) == self.goal.place}
        if done and not (self.goal.number > 1 and "second" in self.skills and len(done) < self.goal.number):
            return "look"  # as far as the player knows, everything is done
        for item, receptacle in self.memory.find(kind):
            if item not in done:
                return self._first(f"take {item} from ") or self._visit(receptacle)
        return self._search()

    def _to_lamp(self) -> str:
        if use := self._first(f"use {self.goal.lamp} "):
            return use
        for _, receptacle in self.memory.find(self.goal.lamp):
            return self._visit(receptacle)
        return self._search()

    def _treat(self, item: str, treatment: str) -> str:
        tools = [name for name in self.memory.receptacles if _kind(name) == TOOLS[treatment]]
        at_hand = self._first(f"{treatment} {item} with ")
        if at_hand or not tools:
            return at_hand or "look"
        return self._visit(tools[0]) if f"go to {tools[0]}" in self.available else self._put(item)

    def _put(self, item: str) -> str:
        places = [name for name in self.memory.receptacles if _kind(name) == self.goal.place]
        used = [place for place in self.memory.put_down.values() if place in places]
        if not places:
            return "look"
        place = (used or sorted(places, key=lambda name: int(name.rsplit(" ", 1)[1])))[0]
        for command in (f"move {item} to {place}", f"put {item} in/on {place}"):
            if command in self.available:
                return command
        return self._visit(place)

    def _search(self) -> str:
        unseen = [name for name in self.memory.receptacles if name not in self.memory.contents]
        if "open" not in self.skills:
            unseen = [name for name in unseen if name not in self.memory.closed]
        likely = usual_homes(self.goal.target)
        # Of equally likely receptacles, one that can be opened without a walk comes first.
        unseen.sort(key=lambda name: (_kind(name) not in likely, f"open {name}" not in self.available))
        return self._visit(unseen[0]) if unseen else "look"

    def _visit(self, receptacle: str) -> str:
        if "open" in self.skills and f"open {receptacle}" in self.available:
            return f"open {receptacle}"
        if f"go to {receptacle}" in self.available:
            return f"go to {receptacle}"
        return self._first(f"examine {receptacle}") if receptacle not in self.memory.closed else "look"

    def _first(self, *beginnings: str) -> str:
        return next((command for command in self.available if command.startswith(beginnings)), "")


@cache
def usual_homes(kind: str) -> frozenset[str]:
    """Return the types of receptacles that can hold a type of object. All types are spelled as in the texts."""
    return frozenset(home.lower() for home, kinds in read_pack().holds.items() if kind in map(str.lower, kinds))


class ALFWorldExpert:
    """Plays with every skill and ignores its prompt. It reads only task sentences that ALFWorld's templates make."""

    scripted = True
    fingerprint = {"kind": "ALFWorldExpert"}

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        """Return the next command."""
        return Action(text=expert_command(steps, observation))


def expert_command(steps: Sequence[Step], observation: Observation) -> str | None:
    """Return the expert's next command; None if it cannot read the goal."""
    goal = read_goal(observation.goal)
    if goal is None:
        return None
    skills = ("open", "lamp", "second", goal.treatment)
    return TextPlayer(goal, skills, remember(steps, observation), observation.available_actions or ()).next_command()


def _kind(name: str) -> str:
    return name.rsplit(" ", 1)[0]
