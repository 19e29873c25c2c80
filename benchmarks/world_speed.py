"""Episodes of each world at zero latency through MetaEnv, beside a bare loop over the same inner environment.

Both play the same tasks by the same choices of actions, one episode at a time. The bare loop keeps nothing. Interleaved
runs; printed are the median of the speed and the median of the ratios. A world whose package is missing is left out.

    python benchmarks/world_speed.py [--quick] [--episodes 16] [--runs 5]
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
from collections.abc import Sequence
from typing import Any

import gymnasium
from measuring import Row, interleaved, median_ratio, note, run, wall_s

import metagym
from metagym.env import meta_env_of
from metagym.errors import MissingExtraError
from metagym.types import Action, Episode, Observation, Step

WORLDS = ("MetaGym/BabyAI-v0", "MetaGym/Reasoning-v0", "MetaGym/ScienceWorld-v0", "MetaGym/TextWorldExpress-v0")
MAX_STEPS = 25


def choose(available: Sequence[str] | None, turn: int) -> str:
    """Return an action that costs nothing to choose; a question without a choice is answered with a number."""
    return available[turn * 7 % len(available)] if available else str(turn)


class Walker:
    """The same choice as an actor."""

    scripted = True

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        return Action(text=choose(observation.available_actions, len(steps)))


def play_bare(env: gymnasium.Env[str, str], episodes: Sequence[Episode]) -> int:
    """Play in one inner environment, without an engine and without records; return the number of steps."""
    num_steps = 0
    for episode in episodes:
        _, info = env.reset(seed=episode.task.seed, options={"task_id": episode.task.id})
        for turn in range(MAX_STEPS):
            _, _, terminated, truncated, info = env.step(choose(info.get("available_actions"), turn))
            num_steps += 1
            if terminated or truncated:
                break
    return num_steps


def measure_world(name: str, arguments: argparse.Namespace) -> list[Row]:
    """Return the rows of one world."""
    steps: dict[str, int] = {}
    options: dict[str, Any] = {"episodes_per_step": arguments.episodes, "max_concurrency": 1, "max_steps": MAX_STEPS}
    with contextlib.ExitStack() as stack:
        env = stack.enter_context(metagym.make(name, actor=Walker(), **options))
        meta_env = meta_env_of(env)
        inner = stack.enter_context(contextlib.closing(meta_env.make_inner_env()))
        env.reset(seed=0)
        episodes = meta_env.new_meta_episode(meta_env.np_random).episodes("")

        def play_engine() -> None:
            steps["MetaEnv"] = sum(len(item.steps) for item in meta_env.play(episodes))

        def play_loop() -> None:
            steps["bare loop"] = play_bare(inner, episodes)

        contenders = {"MetaEnv": lambda: wall_s(play_engine), "bare loop": lambda: wall_s(play_loop)}
        interleaved(contenders, 1)  # the first run imports
        found = interleaved(contenders, 2 if arguments.quick else arguments.runs)
    assert steps["MetaEnv"] == steps["bare loop"], (name, steps)
    rate = steps["MetaEnv"] / statistics.median(found["MetaEnv"])
    return [
        Row(f"{name}, MetaEnv", rate, "steps/s", note=f"{steps['MetaEnv']} steps"),
        Row(f"{name}, MetaEnv / bare loop", median_ratio(found, "bare loop", "MetaEnv"), "", ">= 0.8"),
    ]


def measure(arguments: argparse.Namespace) -> list[Row]:
    rows: list[Row] = []
    for name in WORLDS:
        try:
            rows += measure_world(name, arguments)
        except MissingExtraError as error:
            note(f"{name} is left out: {error}")
    return rows


if __name__ == "__main__":
    run(measure, __doc__, episodes=16, runs=5)
