"""The rooms in which games are generated, and a room with things in it, written as a PDDL problem.

The rooms are read from `pack/`, which `tools/alfworld_rooms.py` makes from the files of the `alfworld` package. The
pack holds no game and no file of ALFWorld; `pack/NOTICE` names its origin and licence.
"""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel

from metagym.envs.alfworld.families import Cluster
from metagym.envs.alfworld.pddl import Atom

PACK = Path(__file__).parent / "pack" / "rooms.json.gz"
TREATMENTS = {
    "pick_clean_then_place_in_recep": ("cleanable", "SinkBasin"),
    "pick_heat_then_place_in_recep": ("heatable", "Microwave"),
    "pick_cool_then_place_in_recep": ("coolable", "Fridge"),
}
"""For each family with a treatment: the property that the object needs, and the receptacle that treats it."""
LAMP = "DeskLamp"


class Room(BaseModel):
    """One of ALFRED's 120 rooms."""

    number: int
    kind: str
    """`Kitchen`, `LivingRoom`, `Bedroom` or `Bathroom`."""
    receptacles: dict[str, tuple[int, int, int, int]]
    """By id, the pose in front of it: x and z in quarter metres, quarter turns, and horizon in degrees."""
    objects: tuple[str, ...]
    """The types of objects that belong in the room."""


class Pack(BaseModel):
    """Everything that games are generated from."""

    rooms: tuple[Room, ...]
    holds: dict[str, tuple[str, ...]]
    """Which types of objects each type of receptacle can hold."""
    abilities: dict[str, tuple[str, ...]]
    """Which types can be cleaned, heated, cooled, sliced (`cleanable`, ...), and which are `openable`."""
    kinds: dict[str, tuple[str, ...]]
    """The kinds of rooms for each family."""
    sentences: dict[str, tuple[str, ...]]
    """Templates of each family's task sentence, with `{obj}`, `{recep}`, `{toggle}`."""
    help_text: str


@cache
def read_pack() -> Pack:
    """Return the pack that ships with metagym."""
    return Pack.model_validate_json(gzip.decompress(PACK.read_bytes()))


class HouseScene(NamedTuple):
    """A room with things in it."""

    cluster: Cluster
    room: Room
    things: dict[str, str]
    """The id of the receptacle that holds each thing, by the thing's id."""
    sentence: str


def type_of(name: str) -> str:
    """Return the type in an id like `Cabinet|+00.68|+00.50|-02.20` or `Sink|...|SinkBasin`."""
    parts = name.split("|")
    return parts[4] if len(parts) == 5 else parts[0]


def problem_text(scene: HouseScene, seed: int) -> str:
    """Return the scene as a PDDL problem in the official layout."""
    room, holds, can = scene.room, read_pack().holds, read_pack().abilities
    homes = sorted(set(map(type_of, room.receptacles)))
    kinds = sorted({type_of(thing) for thing in scene.things})
    places = {receptacle: "|".join(map(str, ("loc", *pose))) for receptacle, pose in room.receptacles.items()}
    # The agent must not start in front of a receptacle.
    start = next(spot for x in range(100) if (spot := f"loc|{x}|0|0|0") not in places.values())
    objects = [("agent1", "agent"), *((f"{kind}Type", "otype") for kind in kinds)]
    objects += [(f"{kind}Type", "rtype") for kind in homes]
    objects += [(thing, "object") for thing in scene.things]
    objects += [(receptacle, "receptacle") for receptacle in room.receptacles]
    objects += [(spot, "location") for spot in sorted({start, *places.values()})]

    facts: list[Atom] = []
    facts += [("receptacleType", receptacle, f"{type_of(receptacle)}Type") for receptacle in room.receptacles]
    facts += [("objectType", thing, f"{type_of(thing)}Type") for thing in scene.things]
    facts += [("canContain", f"{home}Type", f"{kind}Type") for home in homes for kind in kinds if kind in holds[home]]
    facts += [("pickupable", thing) for thing in scene.things if type_of(thing) != LAMP]
    facts += [("openable", receptacle) for receptacle in room.receptacles if type_of(receptacle) in can["openable"]]
    for ability in ("cleanable", "heatable", "coolable", "sliceable", "toggleable"):
        facts += [(ability, thing) for thing in scene.things if type_of(thing) in can[ability]]
    facts += [("atLocation", "agent1", start)]
    facts += [("receptacleAtLocation", receptacle, place) for receptacle, place in places.items()]
    facts += [("inReceptacle", thing, receptacle) for thing, receptacle in scene.things.items()]
    facts += [("objectAtLocation", thing, places[receptacle]) for thing, receptacle in scene.things.items()]

    listed = "\n".join(f"        {mangle(name)} - {kind}" for name, kind in objects)
    held = "\n".join(f"        ({' '.join(map(mangle, fact))})" for fact in facts)
    return (
        f"(define (problem plan_generated_{seed:06d})\n(:domain alfred)\n(:objects\n{listed}\n        )\n"
        f"(:init\n{held}\n        )\n(:goal {goal_text(scene.cluster)})\n)\n"
    )


def mangle(name: str) -> str:
    """Return an id in characters that PDDL allows."""
    for sign, word in (("|", "_bar_"), ("-", "_minus_"), ("+", "_plus_"), (".", "_dot_")):
        name = name.replace(sign, word)
    return name


def goal_text(cluster: Cluster) -> str:
    """Return the goal of a task in PDDL."""
    target, place = f"{cluster.target}Type", f"{cluster.place}Type"
    if cluster.family == "look_at_obj_in_light":
        return (
            "(and (exists (?ot - object ?r - receptacle ?a - agent ?l - location) "
            f"(and (objectType ?ot {place}) (toggleable ?ot) (isToggled ?ot) "
            "(receptacleAtLocation ?r ?l) (atLocation ?a ?l) (inReceptacle ?ot ?r))) "
            f"(exists (?o - object ?a - agent) (and (objectType ?o {target}) (holds ?a ?o))))"
        )
    if cluster.family == "pick_two_obj_and_place":
        return (
            "(and (exists (?r - receptacle) (exists (?o1 - object) "
            f"(and (objectType ?o1 {target}) (receptacleType ?r {place}) (inReceptacle ?o1 ?r) "
            f"(exists (?o2 - object) (and (not (= ?o1 ?o2)) (objectType ?o2 {target}) "
            f"(receptacleType ?r {place}) (inReceptacle ?o2 ?r)))))))"
        )
    ability, _ = TREATMENTS.get(cluster.family, ("", ""))
    state = {"cleanable": "isClean", "heatable": "isHot", "coolable": "isCool"}.get(ability)
    treated = f"({ability} ?o) ({state} ?o) " if state else ""
    return (
        "(and (exists (?r - receptacle) (exists (?o - object) "
        f"(and {treated}(objectType ?o {target}) (receptacleType ?r {place}) (inReceptacle ?o ?r)))))"
    )
