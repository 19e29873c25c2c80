"""Checks that a MiniHack level is the same everywhere: `python tools/minihack_verify.py [--help]`.

It needs the extra `minihack`; Debian's `faketime` adds checks on other dates. It exits with 1 if anything differs.

Each level is played with random actions drawn from its name, and everything that the environment returns is digested.
The reference is a new game for each level. It is compared with MiniHack's own new environment made with `seeds=[seed]`
(first state only), with one re-used environment, with another process that plays the levels in another order, and with
processes on other dates (full moon, new moon, Friday 13th).
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from metagym.envs.minihack.engine import GamePool, NetHackGame, import_minihack
from metagym.envs.minihack.env import MiniHackTextEnv
from metagym.envs.minihack.families import FAMILIES, GROUPS
from metagym.envs.minihack.screen import Screen, read_screen
from metagym.tasks.seeds import read_seeded_id
from metagym.types import digest

DATES = {
    "full moon": "2026-11-24 12:00:00",
    "new moon": "2026-11-09 12:00:00",
    "Friday 13th": "2026-11-13 12:00:00",
    "midnight": "2026-06-17 00:00:01",
}
"""Dates on which NetHack behaves differently, unless `fix_moon_phase` is set."""


class Played(NamedTuple):
    """Digests of a level's first state, and of everything that was returned while it was played."""

    first: str
    all: str


def default_families(num: int = 30) -> tuple[str, ...]:
    """Return `num` families of all groups, in turn."""
    turns = range(max(map(len, GROUPS.values())))
    spread = (members[turn] for turn in turns for members in GROUPS.values() if turn < len(members))
    return tuple(spread)[: min(num, len(FAMILIES))]


def play_levels(task_ids: Iterable[str], *, num_steps: int = 25, fresh: bool = False) -> dict[str, Played]:
    """Play levels with random actions, in re-used games or in a new game each, and digest what is returned."""
    played: dict[str, Played] = {}
    pool = GamePool(max_idle=len(FAMILIES))
    for task_id in task_ids:
        if fresh:
            pool.close()
        env = MiniHackTextEnv(pool=pool, parts=("message", "map", "cursor", "inventory", "status", "legend"))
        choose = random.Random(task_id)
        text, info = env.reset(options={"task_id": task_id})
        first = digest([text, info, env.screen.terminal])
        digests = [first]
        for _ in range(num_steps):
            returned = env.step(choose.choice(info["available_actions"]))
            digests.append(digest([*returned, env.screen.terminal]))
            info = returned[-1]
            if returned[2] or returned[3]:
                break
        env.close()
        played[task_id] = Played(first, digest(digests))
    pool.close()
    return played


def first_screen_of_minihack(task_id: str) -> Screen:
    """Return the first screen of MiniHack's own environment, made for this level alone."""
    import_minihack()
    import gymnasium

    family, seed = read_seeded_id(task_id)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env: Any = gymnasium.make(family, disable_env_checker=True, seeds=[seed], fix_moon_phase=True).unwrapped
    env.reset()
    names, values = env._observation_keys, env.last_observation
    screen = read_screen(dict(zip(names, values, strict=True)))
    env.close()
    return screen


def first_screen(game: NetHackGame, task_id: str) -> Screen:
    """Return the first screen of a re-used game."""
    game.start(read_seeded_id(task_id)[1])
    return game.screen()


def count_differences(reference: Mapping[str, Played], other: Mapping[str, Played]) -> tuple[int, int]:
    """Return the number of levels whose first state differs, and of levels in which anything differs."""
    first = sum(reference[task_id].first != other[task_id].first for task_id in reference)
    return first, sum(reference[task_id] != other[task_id] for task_id in reference)


def play_elsewhere(
    task_ids: Sequence[str], *, num_steps: int = 25, date: str | None = None, fresh: bool = False
) -> dict[str, Played]:
    """Play the levels in another process. A `date` needs `faketime`."""
    command = [sys.executable, __file__, "--worker", "--steps", str(num_steps)]
    command += ["--fresh"] if fresh else []
    if date is not None:
        command = [str(shutil.which("faketime")), date, *command]
    done = subprocess.run(command, input=json.dumps(task_ids), capture_output=True, text=True, check=True)
    return {task_id: Played(*digests) for task_id, digests in json.loads(done.stdout).items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the checks and print the counts; return 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", type=int, default=30, help="number of families, of all groups in turn")
    parser.add_argument("--seeds", type=int, default=200, help="number of seeds of each family")
    parser.add_argument("--steps", type=int, default=25, help="random actions in each level")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--fresh", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        played = play_levels(json.load(sys.stdin), num_steps=options.steps, fresh=options.fresh)
        json.dump(played, sys.stdout)
        return 0
    families = default_families(options.families)
    task_ids = [f"{family}/{seed}" for seed in range(options.seeds) for family in families]
    print(f"{len(families)} families x {options.seeds} seeds, {options.steps} random actions each")

    total, games = 0, {family: NetHackGame(family) for family in families}
    differing = sum(
        first_screen(games[read_seeded_id(task_id)[0]], task_id) != first_screen_of_minihack(task_id)
        for task_id in task_ids
    )
    for game in games.values():
        game.close()
    total += differing
    print(f"{'MiniHack, made with seeds=[seed]':40} first states that differ: {differing}")

    reference = play_levels(task_ids, num_steps=options.steps, fresh=True)
    shuffled = random.Random(0).sample(task_ids, len(task_ids))
    runs = {
        "re-used": partial(play_levels, task_ids),
        "another process, another order": partial(play_elsewhere, shuffled),
    }
    if shutil.which("faketime"):
        for name, date in DATES.items():
            runs[f"{name} ({date[:10]})"] = partial(play_elsewhere, task_ids, date=date)
    else:
        print("faketime is not installed: other dates are skipped (Debian: apt-get install faketime)")
    for name, run in runs.items():
        first, anything = count_differences(reference, run(num_steps=options.steps))
        total += anything
        print(f"{name:40} first states that differ: {first}, trajectories: {anything}", flush=True)
    return int(total > 0)


if __name__ == "__main__":
    sys.exit(main())
