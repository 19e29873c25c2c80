"""Makes games from a family and a seed alone: the same bytes in any process. They are no official games.

A generated game has a real room of ALFRED with things put in it at random, where they may lie, and a task
of one of the six families. It is solvable: its walkthrough was played before it is handed out.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from metagym.envs.alfworld.families import FAMILIES, Cluster, cluster_of
from metagym.envs.alfworld.game import Game, NativeEngine
from metagym.envs.alfworld.pddl import read_problem
from metagym.envs.alfworld.plan import walkthrough
from metagym.envs.alfworld.rooms import Pack, Room, find_alfworld, read_pack
from metagym.envs.alfworld.wording import TASK_PREFIX, Wording
from metagym.envs.alfworld.world import Layout
from metagym.errors import ConfigError, UnknownNameError
from metagym.seeding import derive_seed

SOURCE = "generated"
GENERATOR_VERSION = 1
"""Changes whenever a seed gives another game than before."""
NUM_SEEDS = 2**31
TRIAL_PREFIX = "generated_"
TREATMENTS = {
    "pick_clean_then_place_in_recep": ("cleanable", "SinkBasin"),
    "pick_heat_then_place_in_recep": ("heatable", "Microwave"),
    "pick_cool_then_place_in_recep": ("coolable", "Fridge"),
}
"""What a family's object must bear, and where that is done."""
LAMP = "DeskLamp"
LAMP_STANDS = ("Desk", "Dresser", "SideTable", "Shelf", "DiningTable", "CoffeeTable", "TVStand")

_Item = TypeVar("_Item")


class Draw:
    """Draws from a seed. Only `Random.random` is used, which Python promises to keep as it is."""

    def __init__(self, *parts: int | str) -> None:
        self._random = random.Random(derive_seed("alfworld", GENERATOR_VERSION, *parts)).random

    def below(self, bound: int) -> int:
        """Return a number from 0 to `bound - 1`."""
        return int(self._random() * bound)

    def one_of(self, items: Sequence[_Item]) -> _Item:
        """Return one of `items`."""
        return items[self.below(len(items))]


class Scene(NamedTuple):
    """A room with things in it."""

    cluster: Cluster
    room: Room
    things: dict[str, str]
    """The receptacle that each thing lies in, by their ids."""
    sentence: str


# Task ids ---------------------------------------------------------------------------------------------


def task_id(family: str, seed: int) -> str:
    """Return the id of the game of `family` and `seed`: it holds all that the game is made from."""
    return f"{SOURCE}/{cluster_of_seed(family, seed).folder}/{TRIAL_PREFIX}{seed:06d}"


def read_task_id(name: str) -> tuple[Cluster, int]:
    """Return the cluster and the seed in a generated game's id.

    Raises:
        UnknownNameError: it is no such id.
    """
    cluster, trial = cluster_of(name), name.rsplit("/", 1)[-1]
    number = trial.removeprefix(TRIAL_PREFIX)
    if number.isascii() and number.isdigit() and int(number) < NUM_SEEDS:
        if name == f"{SOURCE}/{cluster.folder}/{TRIAL_PREFIX}{int(number):06d}":
            if cluster_of_seed(cluster.family, int(number)) == cluster:
                return cluster, int(number)
    raise UnknownNameError(
        f"Unknown task id {name!r}: the generator (version {GENERATOR_VERSION}) makes no such game. Ids come "
        "from metagym.envs.alfworld.generate.task_id(family, seed)."
    )


# What a seed gives ------------------------------------------------------------------------------------


def cluster_of_seed(family: str, seed: int) -> Cluster:
    """Return the task that a seed gives: room, object and place."""
    if family not in FAMILIES:
        raise UnknownNameError.of("family", family, FAMILIES)
    draw = Draw("task", family, seed)
    rooms = choices(family)
    number = draw.one_of(list(rooms))
    target = draw.one_of(list(rooms[number]))
    return Cluster(family, target, draw.one_of(rooms[number][target]), number)


@cache
def choices(family: str) -> dict[int, dict[str, tuple[str, ...]]]:
    """Return the places for each object for each room in which a task of `family` can be set."""
    pack = read_pack()
    found: dict[int, dict[str, tuple[str, ...]]] = {}
    for room in pack.rooms:
        if room.kind not in pack.kinds[family]:
            continue
        targets = {
            target: places
            for target in movables(room, pack)
            if (places := _places(family, target, room, pack))
        }
        if targets:
            found[room.number] = targets
    return found


def _places(family: str, target: str, room: Room, pack: Pack) -> tuple[str, ...]:
    here = {type_of(receptacle) for receptacle in room.receptacles}
    fitting = sorted(kind for kind in here if target in pack.holds[kind])
    if family == "look_at_obj_in_light":
        has_lamp = LAMP in room.objects and not here.isdisjoint(LAMP_STANDS)
        return (LAMP,) if has_lamp and fitting else ()
    ability, tool = TREATMENTS.get(family, ("", ""))
    if ability and (tool not in here or target not in pack.abilities[ability]):
        return ()
    # The object must have somewhere else to lie at the start.
    return tuple(kind for kind in fitting if kind != tool) if len(fitting) > 1 else ()


def movables(room: Room, pack: Pack) -> list[str]:
    """Return the types of objects of a room that can be carried about."""
    holdable = {kind for kinds in pack.holds.values() for kind in kinds}
    return [kind for kind in room.objects if kind in holdable]


def type_of(name: str) -> str:
    """Return the type in an id like `Cabinet|+00.68|+00.50|-02.20` or `Sink|...|SinkBasin`."""
    parts = name.split("|")
    return parts[4] if len(parts) == 5 else parts[0]


def make_scene(family: str, seed: int) -> Scene:
    """Return the room of a seed with things in it."""
    pack, cluster = read_pack(), cluster_of_seed(family, seed)
    room = next(room for room in pack.rooms if room.number == cluster.room)
    draw = Draw("scene", family, seed)
    by_type: dict[str, list[str]] = defaultdict(list)
    for receptacle in room.receptacles:
        by_type[type_of(receptacle)].append(receptacle)
    things: dict[str, str] = {}
    for kind in movables(room, pack):
        homes = [home for home in by_type if kind in pack.holds[home]]
        count = 1 + draw.below(3) // 2 + draw.below(4) // 3
        if kind == cluster.target:
            homes = [home for home in homes if home != cluster.place]
            count = max(count, 2) if family == "pick_two_obj_and_place" else count
        for _ in range(count if homes else 0):
            _put(kind, draw.one_of(by_type[draw.one_of(homes)]), things, draw)
    if cluster.place == LAMP:
        stands = [home for home in LAMP_STANDS if home in by_type]
        _put(LAMP, draw.one_of(by_type[draw.one_of(stands)]), things, draw)
    template = draw.one_of(pack.sentences[family])
    words = {"obj": cluster.target.lower(), "recep": cluster.place.lower(), "toggle": cluster.place.lower()}
    return Scene(cluster, room, things, f"{TASK_PREFIX}{template.format(**words)}.")


def _put(kind: str, receptacle: str, things: dict[str, str], draw: Draw) -> None:
    while True:
        position = [float(part) + (draw.below(41) - 20) / 100 for part in receptacle.split("|")[1:4]]
        name = "|".join([kind, *(f"{value:+06.2f}" for value in position)])
        if name not in things:
            things[name] = receptacle
            return


# The game ---------------------------------------------------------------------------------------------


def as_game(name: str) -> Game:
    """Return the generated game of that id, ready to be played."""
    cluster, seed = read_task_id(name)
    scene = make_scene(cluster.family, seed)
    return _as_game(scene, problem_text(scene, seed))


def _as_game(scene: Scene, problem: str) -> Game:
    wording = Wording(help_text=read_pack().help_text)
    game = Game(scene.sentence, Layout(read_problem(problem)), wording, ())
    game = game._replace(walkthrough=walkthrough(game.layout))
    engine = NativeEngine()
    turn = engine.start(game)
    for command in game.walkthrough:
        assert command in turn.commands, f"{command!r} is not admissible in {scene.cluster}"
        turn = engine.step(command)
    assert turn.won, f"the walkthrough does not win {scene.cluster}"
    return game


def as_data(name: str) -> dict[str, Any]:
    """Return the JSON of the `game.tw-pddl` of a generated game, for stock ALFWorld.

    Raises:
        MissingExtraError: the package alfworld, whose domain and grammar it holds, is not installed.
    """
    package = find_alfworld() / "data"
    cluster, seed = read_task_id(name)
    scene = make_scene(cluster.family, seed)
    problem = problem_text(scene, seed)
    grammar = (package / "alfred.twl2").read_text(encoding="utf-8")
    return {
        "pddl_domain": (package / "alfred.pddl").read_text(encoding="utf-8"),
        "grammar": grammar.replace(f"{TASK_PREFIX}UNKNOWN GOAL.", scene.sentence),
        "pddl_problem": problem,
        "solvable": True,
        "walkthrough": list(_as_game(scene, problem).walkthrough),
        "generated": {"by": "metagym", "generator": GENERATOR_VERSION, "seed": seed},
    }


def problem_text(scene: Scene, seed: int) -> str:
    """Return the scene as a PDDL problem, laid out as the official ones are."""
    pack, room = read_pack(), scene.room
    used = {home for home in map(type_of, room.receptacles)}
    kinds = sorted({type_of(thing) for thing in scene.things})
    places = {receptacle: "|".join(map(str, ("loc", *pose))) for receptacle, pose in room.receptacles.items()}
    # Nobody begins before a receptacle.
    start = next(spot for x in range(100) if (spot := f"loc|{x}|0|0|0") not in places.values())
    objects = [("agent1", "agent"), *((f"{kind}Type", "otype") for kind in kinds)]
    objects += [(f"{kind}Type", "rtype") for kind in sorted(used)]
    objects += [(thing, "object") for thing in scene.things]
    objects += [(receptacle, "receptacle") for receptacle in room.receptacles]
    objects += [(spot, "location") for spot in sorted({start, *places.values()})]

    facts = [("receptacleType", receptacle, f"{type_of(receptacle)}Type") for receptacle in room.receptacles]
    facts += [("objectType", thing, f"{type_of(thing)}Type") for thing in scene.things]
    facts += [
        ("canContain", f"{home}Type", f"{kind}Type")
        for home in sorted(used)
        for kind in kinds
        if kind in pack.holds[home]
    ]
    facts += [("pickupable", thing) for thing in scene.things if type_of(thing) != LAMP]
    facts += [
        ("openable", receptacle)
        for receptacle in room.receptacles
        if type_of(receptacle) in pack.abilities["openable"]
    ]
    for ability in ("cleanable", "heatable", "coolable", "sliceable", "toggleable"):
        facts += [(ability, thing) for thing in scene.things if type_of(thing) in pack.abilities[ability]]
    facts += [("atLocation", "agent1", start)]
    facts += [("receptacleAtLocation", receptacle, place) for receptacle, place in places.items()]
    facts += [("inReceptacle", thing, receptacle) for thing, receptacle in scene.things.items()]
    facts += [("objectAtLocation", thing, places[receptacle]) for thing, receptacle in scene.things.items()]

    listed = "\n".join(f"        {mangle(name)} - {kind}" for name, kind in objects)
    held = "\n".join(f"        ({' '.join(map(mangle, fact))})" for fact in facts)
    return (
        f"(define (problem plan_{TRIAL_PREFIX}{seed:06d})\n(:domain alfred)\n(:objects\n{listed}\n        )\n"
        f"(:init\n{held}\n        )\n(:goal {goal_text(scene.cluster)})\n)\n"
    )


def mangle(name: str) -> str:
    """Return an id as PDDL can bear it."""
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


# Files ------------------------------------------------------------------------------------------------

NOTICE = """These games were generated by metagym. They are not ALFWorld's official games, and no score on them is an
ALFWorld score. Each game.tw-pddl holds the domain and the grammar of the package alfworld, which is
Copyright (c) 2020 Mohit Shridhar and others, under the MIT licence.
"""


def write(
    out: str | Path, *, families: Sequence[str] | None = None, num_games: int = 100, first_seed: int = 0
) -> list[Path]:
    """Write `num_games` games of each family below `out`, in the layout of the official games; return their files.

    They go to `json_2.1.1/train`: set ALFWORLD_DATA to `out`, and stock ALFWorld plays them. Existing
    files are replaced.

    Raises:
        ConfigError: a number is out of range.
        UnknownNameError: a family is unknown.
        MissingExtraError: the package alfworld is not installed.
    """
    if num_games < 1 or first_seed < 0 or first_seed + num_games > NUM_SEEDS:
        raise ConfigError(
            f"num_games must be at least 1 and seeds lie in [0, {NUM_SEEDS}), got num_games={num_games}, "
            f"first_seed={first_seed}."
        )
    find_alfworld()
    root, written = Path(out), []
    names = [task_id(family, first_seed + i) for family in families or FAMILIES for i in range(num_games)]
    for name in names:
        data, cluster = as_data(name), cluster_of(name)
        folder = root / "json_2.1.1" / "train" / cluster.folder / name.rsplit("/", 1)[-1]
        folder.mkdir(parents=True, exist_ok=True)
        is_lamp = cluster.place == LAMP
        about = {
            "task_id": folder.name,
            "task_type": cluster.family,
            "pddl_params": {
                "mrecep_target": "",
                "object_sliced": False,
                "object_target": cluster.target,
                "parent_target": "" if is_lamp else cluster.place,
                "toggle_target": cluster.place if is_lamp else "",
            },
            "scene": {"floor_plan": f"FloorPlan{cluster.room}", "scene_num": cluster.room},
            "turk_annotations": {"anns": []},
            "generated": data["generated"],
        }
        (folder / "traj_data.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
        (folder / "initial_state.pddl").write_text(data["pddl_problem"], encoding="utf-8")
        (folder / "game.tw-pddl").write_text(json.dumps(data), encoding="utf-8")
        written.append(folder / "game.tw-pddl")
    (root / "NOTICE").write_text(NOTICE, encoding="utf-8")
    return written
