"""Makes a game from a family and a seed alone: the same bytes in any process.

A generated game has a real room of ALFRED, things at random places that can hold them, and a task of one of the six
families. It can be solved: `find_walkthrough` plays it to the end before the game is returned.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from typing import TypeVar

from metagym.envs.alfworld.families import FAMILIES, Cluster, cluster_of
from metagym.envs.alfworld.game import Game
from metagym.envs.alfworld.generated.rooms import LAMP, TREATMENTS, HouseScene, Room, problem_text, read_pack, type_of
from metagym.envs.alfworld.grammar import TASK_PREFIX, Wording
from metagym.envs.alfworld.pddl import read_problem
from metagym.envs.alfworld.rules import STATES, TOOLS, Layout, World
from metagym.errors import UnknownNameError
from metagym.types import derive_seed

SOURCE = "generated"
GENERATOR_VERSION = 1
"""It must change whenever a seed gives another game than before."""
NUM_SEEDS = 2**31
TRIAL_PREFIX = "generated_"
LAMP_STANDS = ("Desk", "Dresser", "SideTable", "Shelf", "DiningTable", "CoffeeTable", "TVStand")

_Item = TypeVar("_Item")


class Draw:
    """Draws from a seed. It uses only `Random.random`, whose numbers Python promises to keep."""

    def __init__(self, *parts: int | str) -> None:
        self._random = random.Random(derive_seed("alfworld", GENERATOR_VERSION, *parts)).random

    def below(self, bound: int) -> int:
        """Return a number from 0 to `bound - 1`."""
        return int(self._random() * bound)

    def one_of(self, items: Sequence[_Item]) -> _Item:
        """Return one of `items`."""
        return items[self.below(len(items))]


def task_id(family: str, seed: int) -> str:
    """Return the id of the game of `family` and `seed`; the id contains everything that makes the game."""
    return f"{SOURCE}/{cluster_of_seed(family, seed).folder}/{TRIAL_PREFIX}{seed:06d}"


def read_task_id(name: str) -> tuple[Cluster, int]:
    """Return the cluster and the seed in a generated game's id."""
    cluster, trial = cluster_of(name), name.rsplit("/", 1)[-1]
    digits = trial.removeprefix(TRIAL_PREFIX)
    seed = int(digits) if digits.isascii() and digits.isdigit() else NUM_SEEDS
    if seed < NUM_SEEDS and name == task_id(cluster.family, seed):
        return cluster, seed
    raise UnknownNameError(
        f"Unknown task id {name!r}: the generator (version {GENERATOR_VERSION}) makes no such game. Get an id "
        "from metagym.envs.alfworld.generated.games.task_id(family, seed)."
    )


def cluster_of_seed(family: str, seed: int) -> Cluster:
    """Return the task of a seed: room, object and place."""
    if family not in FAMILIES:
        raise UnknownNameError.of("family", family, FAMILIES)
    draw = Draw("task", family, seed)
    rooms = choices(family)
    number = draw.one_of(list(rooms))
    target = draw.one_of(list(rooms[number]))
    return Cluster(family, target, draw.one_of(rooms[number][target]), number)


@cache
def choices(family: str) -> dict[int, dict[str, tuple[str, ...]]]:
    """Return the places for each object, for each room in which a task of `family` is possible."""
    found: dict[int, dict[str, tuple[str, ...]]] = {}
    for room in read_pack().rooms:
        targets = {target: places for target in movables(room) if (places := _places(family, target, room))}
        if targets and room.kind in read_pack().kinds[family]:
            found[room.number] = targets
    return found


def _places(family: str, target: str, room: Room) -> tuple[str, ...]:
    pack = read_pack()
    here = {type_of(receptacle) for receptacle in room.receptacles}
    fitting = sorted(kind for kind in here if target in pack.holds[kind])
    if family == "look_at_obj_in_light":
        has_lamp = LAMP in room.objects and not here.isdisjoint(LAMP_STANDS)
        return (LAMP,) if has_lamp and fitting else ()
    ability, tool = TREATMENTS.get(family, ("", ""))
    if ability and (tool not in here or target not in pack.abilities[ability]):
        return ()
    # The object needs another place to start from.
    return tuple(kind for kind in fitting if kind != tool) if len(fitting) > 1 else ()


def movables(room: Room) -> list[str]:
    """Return the types of objects in a room that can be carried."""
    holdable = {kind for kinds in read_pack().holds.values() for kind in kinds}
    return [kind for kind in room.objects if kind in holdable]


def make_scene(family: str, seed: int) -> HouseScene:
    """Return the room of a seed with its things."""
    pack, cluster = read_pack(), cluster_of_seed(family, seed)
    room = next(room for room in pack.rooms if room.number == cluster.room)
    draw = Draw("scene", family, seed)
    by_type: dict[str, list[str]] = defaultdict(list)
    for receptacle in room.receptacles:
        by_type[type_of(receptacle)].append(receptacle)
    things: dict[str, str] = {}
    for kind in movables(room):
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
    return HouseScene(cluster, room, things, f"{TASK_PREFIX}{template.format(**words)}.")


def _put(kind: str, receptacle: str, things: dict[str, str], draw: Draw) -> None:
    while True:
        position = [float(part) + (draw.below(41) - 20) / 100 for part in receptacle.split("|")[1:4]]
        name = "|".join([kind, *(f"{value:+06.2f}" for value in position)])
        if name not in things:
            things[name] = receptacle
            return


def make_game(name: str) -> Game:
    """Return the generated game of that id."""
    cluster, seed = read_task_id(name)
    scene = make_scene(cluster.family, seed)
    layout = Layout(read_problem(problem_text(scene, seed)))
    return Game(scene.sentence, layout, Wording(help_text=read_pack().help_text), find_walkthrough(layout))


def find_walkthrough(layout: Layout) -> tuple[str, ...]:
    """Return commands that reach the goal from the start. The goal must be one of the six families'."""
    walker = _Walker(layout)
    wanted = [atom for part in layout.goal for atom in min(part, key=len, default=())]
    for _, item, receptacle in [atom for atom in wanted if atom[0] == "inreceptacle"]:
        if ("istoggled", item) not in wanted:
            walker.fetch(item, [treatment for treatment in TOOLS if (STATES[treatment], item) in wanted])
            walker.reach_into(receptacle)
            walker.do("put", item, receptacle)
    for _, _, item in [atom for atom in wanted if atom[0] == "holds"]:
        walker.fetch(item, [])
    for _, item in [atom for atom in wanted if atom[0] == "istoggled"]:
        walker.go(walker.home(item))
        walker.do("use", item)
    if not walker.world.won():
        raise ValueError("the walkthrough does not win")
    return tuple(walker.commands)


class _Walker:
    """Plays by ids and notes the commands."""

    def __init__(self, layout: Layout) -> None:
        self.world = World(layout, Wording())
        self.commands: list[str] = []

    def do(self, rule: str, item: str = "", receptacle: str = "") -> None:
        for command, move in self.world.moves().items():
            if move.rule == rule and item in ("", move.object) and receptacle in ("", move.receptacle):
                self.world.apply(move)
                self.commands.append(command)
                return
        raise ValueError(f"cannot {rule} {item or receptacle}")

    def home(self, item: str) -> str:
        return next(fact[2] for fact in sorted(self.world.facts) if fact[:2] == ("inreceptacle", item))

    def go(self, receptacle: str) -> None:
        if self.world.layout.location[receptacle] != self.world.here:
            self.do("go", receptacle=receptacle)

    def reach_into(self, receptacle: str) -> None:
        self.go(receptacle)
        if not self.world.is_reachable(receptacle):
            self.do("open", receptacle=receptacle)

    def fetch(self, item: str, treatments: list[str]) -> None:
        home = self.home(item)
        self.reach_into(home)
        self.do("take", item, home)
        for treatment in treatments:
            layout = self.world.layout
            self.go(next(tool for tool in layout.receptacles if TOOLS[treatment] in layout.types[tool]))
            self.do(treatment, item)
