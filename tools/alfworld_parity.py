"""Compares ALFWorld's native engine with TextWorld, step by step: `python tools/alfworld_parity.py [--help]`.

It needs the extra `alfworld` and, unless `--data generated` is given, official games in ALFWORLD_DATA. It exits with 1
if the engines differ.

Both engines play the same commands: first the walkthrough, with looks, inventories, examinations and invalid commands
between its steps, then random commands, each kind equally likely. At every step the observation, the admissible
commands (in their order) and the won flag must be equal, and so the reward.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from metagym.envs.alfworld.catalogue import GameCatalogue
from metagym.envs.alfworld.families import FAMILIES, cluster_of
from metagym.envs.alfworld.game import Engine, GameData, NativeEngine, Turn, parse_game
from metagym.envs.alfworld.textworld_engine import SpawnedTextWorldEngine
from metagym.types import derive_seed

INVALID = (
    "",
    "dance",
    "go to moon 1",
    "open the door",
    "take all",
    "put mug 1 in/on desk 1",
    "LOOK",
    "help me",
)


class Difference(NamedTuple):
    """The commands after which the engines' answers differ, and the answers."""

    game: str
    commands: tuple[str, ...]
    native: Turn
    stock: Turn


class Comparison(NamedTuple):
    """The result for one game."""

    game: str
    num_steps: int
    won_by_walkthrough: bool
    difference: Difference | None


def _is_same(native: Turn, stock: Turn) -> bool:
    return native._replace(progress=None) == stock  # TextWorld knows of no progress


def compare(name: str, data: GameData, stock: Engine, *, num_steps: int | None, rng: random.Random) -> Comparison:
    """Play one game in both engines until they differ: `num_steps` commands, or only the walkthrough if None."""
    game, native = parse_game(data, name=name), NativeEngine()
    turns = native.start(game), stock.start(game, data)
    played: list[str] = []
    walkthrough = list(game.walkthrough)
    won = False
    while _is_same(*turns) and (bool(walkthrough) if num_steps is None else len(played) < num_steps):
        command = walkthrough.pop(0) if num_steps is None else choose(turns[0], walkthrough, rng)
        played.append(command)
        turns = native.step(command), stock.step(command)
        won = won or (turns[0].won and not walkthrough)
    difference = None if _is_same(*turns) else Difference(name, tuple(played), *turns)
    return Comparison(name, len(played), won, difference)


def choose(turn: Turn, walkthrough: list[str], rng: random.Random) -> str:
    """Choose the next command. A command from the walkthrough is removed from it."""
    if rng.random() < 0.07:
        return rng.choice(INVALID)
    if walkthrough and rng.random() < 0.75:
        return walkthrough.pop(0)
    kinds: dict[str, list[str]] = defaultdict(list)
    for command in turn.commands:
        kinds[command.split()[0]].append(command)
    # Before the walkthrough ends, no command may change the state against it.
    harmless = [kind for kind in kinds if not walkthrough or kind in ("look", "inventory", "help", "examine")]
    return rng.choice(kinds[rng.choice(harmless)])


def pick_games(task_ids: Iterable[str], num_games: int, rng: random.Random) -> list[str]:
    """Return `num_games` games, of all sources and families in turn."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for task_id in task_ids:
        groups[task_id.split("/")[0], cluster_of(task_id).family].append(task_id)
    for group in groups.values():
        rng.shuffle(group)
    in_turn = itertools.zip_longest(*groups.values())
    return [task_id for row in in_turn for task_id in row if task_id is not None][:num_games]


def compare_all(
    catalogue: GameCatalogue, task_ids: Sequence[str], *, num_steps: int | None, seed: int
) -> Iterator[Comparison]:
    """Compare the engines on each game: `num_steps` commands, or only the walkthrough if None."""
    stock = SpawnedTextWorldEngine()
    try:
        for count, task_id in enumerate(task_ids, start=1):
            rng = random.Random(derive_seed("parity", seed, task_id))
            yield compare(task_id, catalogue.data(task_id), stock, num_steps=num_steps, rng=rng)
            if count % 50 == 0:
                stock.close()  # TextWorld leaks memory: the next game starts a new process
    finally:
        stock.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare and print the counts; return 0 if no answer differed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", type=int, default=300, help="number of games, of all sources and families in turn")
    parser.add_argument("--steps", type=int, default=70, help="commands per game")
    parser.add_argument("--walkthroughs", action="store_true", help="play only each game's walkthrough")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", choices=["official", "generated"], default="official")
    options = parser.parse_args(arguments)
    catalogue = GameCatalogue(data=options.data)
    task_ids = catalogue.sample_ids(per_family=-(-options.games // len(FAMILIES)))
    chosen = pick_games(task_ids, options.games, random.Random(options.seed))
    num_steps = None if options.walkthroughs else options.steps
    steps: Counter[tuple[str, str]] = Counter()
    games: Counter[tuple[str, str]] = Counter()
    won, differences = 0, []
    for found in compare_all(catalogue, chosen, num_steps=num_steps, seed=options.seed):
        key = (found.game.split("/")[0], cluster_of(found.game).family)
        steps[key] += found.num_steps
        games[key] += 1
        won += found.won_by_walkthrough
        if found.difference is not None:
            differences.append(found.difference)
            print(f"DIFFERENT {found.difference}", flush=True)
        if sum(games.values()) % 20 == 0:
            print(f"... {sum(games.values())} games, {sum(steps.values())} steps", file=sys.stderr, flush=True)
    for key in sorted(games):
        print(f"{key[0]:13} {key[1]:31} {games[key]:4} games {steps[key]:6} steps")
    print(
        f"{sum(games.values())} games, {sum(steps.values())} compared steps, {len(differences)} differences; "
        f"{won} walkthroughs played to the end in both engines"
    )
    return 1 if differences or not games else 0


if __name__ == "__main__":
    sys.exit(main())
