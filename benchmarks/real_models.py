"""Let real models play under the default prompt: how many of their actions are invalid, and what a step costs.

    python benchmarks/real_models.py FILE.gguf ... --out actions.jsonl [--steps 200]
    python benchmarks/real_models.py FILE.gguf --out worlds.jsonl --worlds all --episodes 20 --reply-format act

Beside the score is the floor: a random actor on the same tasks. Each row is appended to the file as soon as it is
measured, and a row that is there is not measured again: a run that was stopped goes on. The tables are in
docs/results/real_models.md. It needs the extra local and those of the worlds.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np
from measuring import note, print_table

from metagym import MetaEnv
from metagym.errors import MissingExtraError
from metagym.statistics import mean_interval
from metagym.types import Trajectory

WORLDS: dict[str, dict[str, Any]] = {
    "MetaGym/Gates-v0": {"max_steps": 12, "score": "progress"},
    "MetaGym/ALFWorld-v0": {"max_steps": 25, "score": "progress"},
    "MetaGym/MiniHack-v0": {"max_steps": 25, "families": ["MiniHack-Room-Random-5x5-v0"]},
    "MetaGym/BabyAI-v0": {"max_steps": 25},
    "MetaGym/Questions-v0": {},
    "MetaGym/Reasoning-v0": {"score": "progress"},
    "MetaGym/ScienceWorld-v0": {"max_steps": 25, "score": "progress"},
    "MetaGym/TextWorldExpress-v0": {"max_steps": 25, "score": "progress"},
}
"""Tools is played by `tool_models.py`, because its replies are calls."""
FORM_WORLDS = list(WORLDS)[:3]
FLOOR_OPTIONS: dict[str, dict[str, Any]] = {"MetaGym/ScienceWorld-v0": {"list_commands": True}}
"""What the random actor needs to have a choice."""
MAX_REPLY_TOKENS = {"react": 300, "act": 40}
SETTING = ("model", "constrain", "reply")
BATCH = 4
"""The local server's slots."""


def make(world: str, model: Path, constrain: str, reply_format: str, **options: Any) -> MetaEnv:
    """Make an environment in which the model plays batches that fill the server's slots."""
    actor = {
        "model": f"local:{model}",
        "constrain": constrain,
        "reply_format": reply_format,
        "sampling": {"max_tokens": MAX_REPLY_TOKENS[reply_format]},
    }
    options = {"episodes_per_step": BATCH, "allow_bad_batches": True, **WORLDS[world], **options}
    return cast(MetaEnv, gymnasium.make(world, actor=actor, **options).unwrapped)


def measure_actions(
    world: str, model: Path, constrain: str, reply_format: str, *, num_steps: int, num_episodes: int, **options: Any
) -> dict[str, Any]:
    """Play batches under the default prompt up to a number of steps and episodes; return shares and means over them."""
    with closing(make(world, model, constrain, reply_format, **options)) as env:
        played: list[Trajectory] = []
        _, info = env.reset(seed=7)
        start = time.perf_counter()
        while len(played) < num_episodes or sum(len(trajectory.steps) for trajectory in played) < num_steps:
            played.extend(env.step(info["default_prompt"])[0])
        seconds = time.perf_counter() - start
    steps = [step for trajectory in played for step in trajectory.steps]
    usages = [step.action.completion.usage for step in steps if step.action.completion is not None]
    prompt_tokens = sum(usage.prompt_tokens for usage in usages)
    return {
        "episodes": len(played),
        "steps": len(steps),
        "invalid": sum(not step.is_valid for step in steps),
        "unreadable": sum(step.action.text is None for step in steps),
        **beside_the_floor(world, played, **options),
        "prompt_tokens": prompt_tokens / len(steps),
        "reply_tokens": sum(usage.completion_tokens for usage in usages) / len(steps),
        "cache_hits": sum(usage.cached_tokens for usage in usages) / prompt_tokens,
        "seconds_per_step": seconds / len(steps),
    }


def beside_the_floor(world: str, played: Sequence[Trajectory], **options: Any) -> dict[str, Any]:
    """Return the mean score, that of the random actor on the same tasks, and the 95 % interval of their difference."""
    options = {**WORLDS[world], **FLOOR_OPTIONS.get(world, {}), **options}
    with closing(cast(MetaEnv, gymnasium.make(world, actor="random", **options).unwrapped)) as env:
        (step,) = env.replay([env.default_prompt], [trajectory.task.id for trajectory in played])
    scores, floor = (np.array([item.score for item in items]) for items in (played, step.trajectories))
    gap = mean_interval(scores - floor, resolution=1.0, bounds=(-1.0, 1.0))
    return {
        "score": float(scores.mean()),
        "floor": float(floor.mean()),
        "above_floor": None if gap is None else [gap.low, gap.high],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", type=Path, help="GGUF files; without any, only the table is printed")
    parser.add_argument("--out", type=Path, required=True, help="the rows, as JSON lines")
    parser.add_argument("--worlds", nargs="+", metavar="ID", default=FORM_WORLDS, help="ids of worlds, or all")
    parser.add_argument("--steps", type=int, default=200, help="at least so many steps in each world")
    parser.add_argument("--episodes", type=int, default=1, help="at least so many episodes in each world")
    parser.add_argument("--max-steps", type=int, help="at most so many steps in each episode; by default see WORLDS")
    parser.add_argument("--reply-format", default="react", choices=["react", "act"])
    parser.add_argument("--constrain", nargs="+", default=["auto", "off"], choices=["auto", "off"])
    options = parser.parse_args()
    rows = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []

    def measure(key: dict[str, str], measured: Callable[[], dict[str, Any]]) -> None:
        if any(key.items() <= row.items() for row in rows):
            return
        rows.append({**key, **measured()})
        note(json.dumps(rows[-1]))
        with options.out.open("a") as file:
            file.write(json.dumps(rows[-1]) + "\n")

    reply = options.reply_format
    for model in options.models:
        for constrain in options.constrain:
            key = {"model": model.stem, "constrain": constrain, "reply": reply}
            for world in WORLDS if options.worlds == ["all"] else options.worlds:
                limits: dict[str, Any] = {"num_steps": options.steps, "num_episodes": options.episodes}
                if options.max_steps is not None and "max_steps" in WORLDS[world]:
                    limits["max_steps"] = options.max_steps
                try:
                    measure({**key, "world": world}, partial(measure_actions, world, model, constrain, reply, **limits))
                except MissingExtraError as error:
                    note(f"{world} is left out: {error}")
    print_actions(rows)


def print_actions(rows: list[dict[str, Any]]) -> None:
    """Print one line for each model, setting and world."""
    about = ("model", "constrain", "reply", "world", "episodes", "steps", "invalid")
    head = (*about, "score", "floor", "above it [95 %]", "sent", "cached", "replied", "s")
    lines = [
        (
            *(row[name] for name in SETTING),
            row["world"].removeprefix("MetaGym/").removesuffix("-v0"),
            row["episodes"],
            row["steps"],
            f"{row['invalid'] / row['steps']:.1%}",
            f"{row['score']:.2f}",
            *floor_cells(row),
            f"{row['prompt_tokens']:.0f}",
            f"{row['cache_hits']:.0%}",
            f"{row['reply_tokens']:.0f}",
            f"{row['seconds_per_step']:.2f}",
        )
        for row in rows
    ]
    print_table(head, *lines)


def floor_cells(row: dict[str, Any]) -> tuple[str, str]:
    if row.get("above_floor") is None:  # a row of before the floor was measured, or a single episode
        return "", ""
    low, high = row["above_floor"]
    return f"{row['floor']:.2f}", f"{row['score'] - row['floor']:+.2f} [{low:+.2f}, {high:+.2f}]"


if __name__ == "__main__":
    main()
