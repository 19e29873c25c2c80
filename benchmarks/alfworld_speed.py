"""ALFWorld, native against stock, side by side in one run: load, reset, step, whole episodes; and memory.

    python benchmarks/alfworld_speed.py [--quick] [--games 12] [--episodes 64] [--memory-episodes 1000]

It plays official games if ALFWORLD_DATA names them, else generated ones. The stock side needs the extra `alfworld`;
without it only the native figures are printed.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from measuring import Row, note, resident_mib, run

from metagym.envs.alfworld.catalogue import GameCatalogue
from metagym.envs.alfworld.demo import LESSONS
from metagym.envs.alfworld.game import NativeEngine, parse_game
from metagym.envs.alfworld.meta import ALFWorldMetaEnv
from metagym.envs.alfworld.textworld_engine import TextWorldEngine, require_textworld
from metagym.envs.instructions import write_instructions
from metagym.errors import MissingExtraError

PROMPT = write_instructions(LESSONS[skill] for skill in ("open", "clean", "heat", "cool"))
NUM_STEPS = 20


def timed(act: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.perf_counter()
    answer = act()
    return time.perf_counter() - begin, answer


def pick_games(ids: Sequence[str], num_games: int, *, seed: int) -> list[str]:
    return random.Random(seed).sample(list(ids), min(num_games, len(ids)))


def time_native(data: dict[str, Any], num_steps: int) -> dict[str, float]:
    engine, rng = NativeEngine(), random.Random(0)
    load, game = timed(lambda: parse_game(data))
    reset, turn = timed(lambda: engine.start(game))
    begin = time.perf_counter()
    for _ in range(num_steps):
        turn = engine.step(rng.choice(turn.commands))
    return {"load": load, "reset": reset, "step": (time.perf_counter() - begin) / num_steps}


def time_stock(data: dict[str, Any], num_steps: int) -> dict[str, float]:
    env, rng = TextWorldEngine()._env, random.Random(0)
    load, _ = timed(lambda: env.load(data))
    reset, state = timed(env.reset)
    begin = time.perf_counter()
    for _ in range(num_steps):
        state, *_ = env.step(rng.choice(state["admissible_commands"]))
    return {"load": load, "reset": reset, "step": (time.perf_counter() - begin) / num_steps}


def time_episodes(engine: Any, task_ids: list[str]) -> tuple[float, int]:
    """Return the seconds that the demo actor's episodes took, and their steps."""
    with ALFWorldMetaEnv("demo", engine=engine) as env:
        env.reset(seed=0)
        seconds, (meta_step,) = timed(lambda: env.replay([PROMPT], task_ids))
    return seconds, sum(len(trajectory.steps) for trajectory in meta_step.trajectories)


def measure(arguments: argparse.Namespace) -> list[Row]:
    try:
        require_textworld()
        engines = {"native": time_native, "stock": time_stock}
    except MissingExtraError as error:
        note(str(error))
        engines = {"native": time_native}
    if arguments.quick:
        arguments.games, arguments.episodes, arguments.memory_episodes = 3, 12, 200
    rows: list[Row] = []
    catalogue = GameCatalogue()
    ids = catalogue.sample_ids(per_family=max(arguments.episodes, arguments.memory_episodes) // 6 + 1)
    chosen = pick_games(ids, arguments.games, seed=0)
    data = [catalogue.data(task_id) for task_id in chosen] if "stock" in engines or catalogue.folder else []
    times = {name: [timing(item, NUM_STEPS) for item in data] for name, timing in engines.items()}
    games = f"{catalogue.data_name} games, median of {len(data)}"
    for part in ("load", "reset", "step") if data else ():
        seconds = {name: statistics.median(item[part] for item in times[name]) for name in engines}
        rows += [Row(f"ALFWorld, {part}, {name}", value * 1e3, "ms", note=games) for name, value in seconds.items()]
        if "stock" in seconds:
            rows.append(Row(f"ALFWorld, {part}, stock / native", seconds["stock"] / seconds["native"]))

    played = pick_games(ids, arguments.episodes, seed=1)
    took = {"native": time_episodes("native", played)}
    if "stock" in engines:
        took["stock"] = time_episodes("textworld", played)
    for name, (seconds_s, steps) in took.items():
        steps_played = f"{steps} steps of the demo actor through MetaEnv"
        rows.append(Row(f"ALFWorld, {len(played)} episodes, {name}", seconds_s, "s", note=steps_played))
    if "stock" in took:
        rows.append(Row("ALFWorld, episodes, stock / native", took["stock"][0] / took["native"][0]))

    names = pick_games(ids, arguments.memory_episodes, seed=2)
    names *= -(-arguments.memory_episodes // len(names))
    sizes = []
    with ALFWorldMetaEnv("demo") as env:
        env.reset(seed=0)
        for begin in range(0, arguments.memory_episodes, 100):
            env.replay([PROMPT], names[begin : begin + 100])
            gc.collect()
            sizes.append(resident_mib())
    history = "after each 100: " + " ".join(f"{size:.0f}" for size in sizes)
    rows.append(Row(f"ALFWorld, memory after {arguments.memory_episodes} episodes", sizes[-1], "MiB", note=history))
    return rows


if __name__ == "__main__":
    run(measure, __doc__, games=12, episodes=64, memory_episodes=1000)
