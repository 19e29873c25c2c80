"""Let real models play under the default prompt: how many of their actions are invalid, and what a step costs.

    python benchmarks/real_models.py FILE.gguf ... --out actions.jsonl [--steps 200]

Each row is appended to the file as soon as it is measured, and a row that is there is not measured again: a run that
was stopped goes on. The table is in docs/results/real_models.md. It needs the extras local, alfworld and minihack.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, cast

import gymnasium
from measuring import note, print_table

from metagym import MetaEnv
from metagym.types import Trajectory

WORLDS: dict[str, dict[str, Any]] = {
    "MetaGym/Gates-v0": {"max_steps": 12, "score": "progress"},
    "MetaGym/ALFWorld-v0": {"max_steps": 25, "score": "progress"},
    "MetaGym/MiniHack-v0": {"max_steps": 25, "families": ["MiniHack-Room-Random-5x5-v0"]},
}
MAX_REPLY_TOKENS = 300
SETTING = ("model", "constrain", "reply")
BATCH = 4
"""The local server's slots."""


def make(world: str, model: Path, constrain: str, reply_format: str, **options: Any) -> MetaEnv:
    """Make an environment in which the model plays batches that fill the server's slots."""
    actor = {
        "model": f"local:{model}",
        "constrain": constrain,
        "reply_format": reply_format,
        "sampling": {"max_tokens": MAX_REPLY_TOKENS},
    }
    options = {"episodes_per_step": BATCH, "allow_bad_batches": True, **WORLDS[world], **options}
    return cast(MetaEnv, gymnasium.make(world, actor=actor, **options).unwrapped)


def measure_actions(world: str, model: Path, constrain: str, reply_format: str, num_steps: int) -> dict[str, Any]:
    """Play batches under the default prompt until there are `num_steps` steps; return shares and means over them."""
    with closing(make(world, model, constrain, reply_format)) as env:
        played: list[Trajectory] = []
        _, info = env.reset(seed=7)
        start = time.perf_counter()
        while sum(len(trajectory.steps) for trajectory in played) < num_steps:
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
        "score": sum(trajectory.score or 0.0 for trajectory in played) / len(played),
        "prompt_tokens": prompt_tokens / len(steps),
        "reply_tokens": sum(usage.completion_tokens for usage in usages) / len(steps),
        "cache_hits": sum(usage.cached_tokens for usage in usages) / prompt_tokens,
        "seconds_per_step": seconds / len(steps),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", type=Path, help="GGUF files; without any, only the table is printed")
    parser.add_argument("--out", type=Path, required=True, help="the rows, as JSON lines")
    parser.add_argument("--steps", type=int, default=200)
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
            for world in WORLDS:
                measured = partial(measure_actions, world, model, constrain, reply, options.steps)
                measure({**key, "world": world}, measured)
    print_actions(rows)


def print_actions(rows: list[dict[str, Any]]) -> None:
    """Print one line for each model, setting and world."""
    head = ("model", "constrain", "reply", "world", "steps", "invalid", "score", "sent", "cached", "replied", "s")
    lines = [
        (
            *(row[name] for name in SETTING),
            row["world"].removeprefix("MetaGym/").removesuffix("-v0"),
            row["steps"],
            f"{row['invalid'] / row['steps']:.1%}",
            f"{row['score']:.2f}",
            f"{row['prompt_tokens']:.0f}",
            f"{row['cache_hits']:.0%}",
            f"{row['reply_tokens']:.0f}",
            f"{row['seconds_per_step']:.2f}",
        )
        for row in rows
    ]
    print_table(head, *lines)


if __name__ == "__main__":
    main()
