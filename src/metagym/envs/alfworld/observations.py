"""Writes the texts that the player reads, after the rules of ALFWorld's grammar and in their order."""

from __future__ import annotations

from collections.abc import Sequence

from metagym.envs.alfworld.grammar import Wording
from metagym.envs.alfworld.rules import Move, World

WELCOME = "-= Welcome to TextWorld, ALFRED! =-"
NOTHING_HAPPENS = "Nothing happens."


def listing(names: Sequence[str]) -> str:
    """Return `nothing`, `a`, `a, and b`, `a, b, and c`, ..."""
    if len(names) < 2:
        return names[0] if names else "nothing"
    return f"{', '.join(names[:-1])}, and {names[-1]}"


def introduction(world: World, task: str) -> str:
    """Return the first observation."""
    if world.around():
        surroundings = look(world)
    else:
        seen = listing([f"a {world.layout.names[item]}" for item in world.layout.receptacles])
        surroundings = f"You are in the middle of a room. Looking quickly around you, you see {seen}."
    return f"{WELCOME}\n\n{surroundings}\n\n{task}"


def feedback(world: World, move: Move, wording: Wording) -> str:
    """Return the observation after `move` was applied."""
    names = world.layout.names
    receptacle, item, tool = (names.get(part, "") for part in (move.receptacle, move.object, move.tool))
    match move.rule:
        case "go":
            place = names[world.here]
            return f"{wording.arrive.format(r=receptacle, lend=place)} {receptacle_text(world, move.receptacle)}"
        case "open":
            return f"You open the {receptacle}. {receptacle_text(world, move.receptacle)}"
        case "close":
            return f"You close the {receptacle}."
        case "take":
            return f"You pick up the {item} from the {receptacle}."
        case "put":
            return wording.put_feedback.format(o=item, r=receptacle)
        case "clean" | "heat" | "cool":
            return f"You {move.rule} the {item} using the {receptacle}."
        case "use":
            # The object stays toggled for ever, so no text ever says that it was turned off.
            return f"You turn on the {item}."
        case "slice":
            return f"You sliced the {item} with the {tool}."
        case "look":
            return look(world)
        case "inventory":
            return inventory(world)
        case "examine receptacle":
            return receptacle_text(world, move.receptacle)
        case "examine object":
            return object_text(world, move.object)
    return wording.help_text or ""


def receptacle_text(world: World, receptacle: str) -> str:
    """Return the text on the objects in or on a receptacle."""
    name = world.layout.names[receptacle]
    if not world.is_reachable(receptacle):
        return f"The {name} is closed."
    seen = listing([f"a {world.layout.names[item]}" for item in world.contents(receptacle)])
    if world.layout.has("openable", receptacle):
        return f"The {name} is open. In it, you see {seen}."
    return f"On the {name}, you see {seen}."


def look(world: World) -> str:
    """Return the answer to `look`. At the first location it shows nothing, although the first observation does."""
    around, names = world.around(), world.layout.names
    if not around:
        return "You are in the middle of a room. Looking quickly around you, you see nothing."
    # Stock ALFWorld lists an object here if it was moved between two receptacles of this location, or if it was
    # taken from here and still counts as being at this location.
    beside = [
        f"a {names[item]}"
        for item in world.layout.objects
        if ("objectatlocation", item, world.here) in world.facts
        for receptacle in around
        if (item, receptacle) in world.taken
    ]
    facing = listing([names[receptacle] for receptacle in around])
    return f"You are facing the {facing}. Next to it, you see {listing(beside)}."


def inventory(world: World) -> str:
    """Return the text on the things that the player carries."""
    held = world.held()
    if not held:
        return "You are not carrying anything."
    return f"You are carrying: {listing([f'a {world.layout.names[item]}' for item in held])}."


def object_text(world: World, item: str) -> str:
    """Return the text on an object that the player holds."""
    layout, name = world.layout, world.layout.names[item]
    if layout.has("isreceptacleobject", item):
        seen = listing([f"a {layout.names[inner]}" for inner, outer in layout.inside if outer == item])
        return f"This is a normal {name}. In it, you see {seen}."
    is_clean, is_hot, is_cool, is_sliced = (
        (predicate, item) in world.facts for predicate in ("isclean", "ishot", "iscool", "issliced")
    )
    warmth = "hot" if is_hot else "cool" if is_cool else ""
    words = " and ".join(word for word in (warmth, "clean" if is_clean else "") if word)
    if words and is_sliced:
        return f"This is a {words} sliced {name}."
    if words:
        # The grammar says "cold" if this is the only word, and "cool" beside another one.
        return f"This is a {'cold' if words == 'cool' else words} {name}."
    if layout.has("toggleable", item) and ("istoggled", item) in world.facts:
        return f"This {name} is on."
    if layout.has("sliceable", item) and is_sliced:
        return f"This is a sliced {name}."
    return f"There's nothing special about {name}."
