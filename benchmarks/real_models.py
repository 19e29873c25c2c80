"""Let real models play: how many of their actions are invalid, and whether their play depends on the prompt.

    python benchmarks/real_models.py actions FILE.gguf ... --out actions.jsonl [--steps 200]
    python benchmarks/real_models.py prompts FILE.gguf ... --out prompts.jsonl [--laws 8]

Each row is appended to the file as soon as it is measured, and a row that is there is not measured again: a run that
was stopped goes on. The tables are in docs/results/real_models.md. It needs the extras local, alfworld and minihack.
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
from measuring import note

from metagym import MetaEnv
from metagym.envs.gates.env import FAMILIES, GATES, law_of
from metagym.statistics import mean_interval
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


def lessons(ways: tuple[str, ...]) -> str:
    """Return the lines that say one way for each gate, in the order of `GATES`."""
    return "\n".join(f"When the gate is {gate}, {way}." for gate, way in zip(GATES, ways, strict=True))


def lessons_of(law: str) -> dict[str, str]:
    """Return what each of four prompts adds to `sp_0` in this law. Wrong lessons name the way that backfires."""
    right = law_of(law)
    shares_none = (
        other
        for other in FAMILIES[FAMILIES.index(law) :] + FAMILIES
        if all(a != b for a, b in zip(law_of(other).opens, right.opens, strict=True))
    )
    return {
        "sp_0": "",
        "right": lessons(right.opens),
        "wrong": lessons(right.backfires),
        "other law": lessons(law_of(next(shares_none)).opens),
    }


def measure_prompt(model: Path, law: str, prompt: str, constrain: str, reply_format: str) -> dict[str, Any]:
    """Play the same four roads of a law under one of the four prompts; return the gates passed on each."""
    with closing(make("MetaGym/Gates-v0", model, constrain, reply_format, families=[law])) as env:
        _, info = env.reset(seed=FAMILIES.index(law))
        played = env.step(f"{info['default_prompt']}\n\n{lessons_of(law)[prompt]}".strip())[0]
    invalid = sum(not step.is_valid for trajectory in played for step in trajectory.steps)
    gates = [round(len(GATES) * (trajectory.score or 0.0)) for trajectory in played]
    return {"gates": gates, "steps": sum(len(trajectory.steps) for trajectory in played), "invalid": invalid}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["actions", "prompts"])
    parser.add_argument("models", nargs="*", type=Path, help="GGUF files; without any, only the table is printed")
    parser.add_argument("--out", type=Path, required=True, help="the rows, as JSON lines")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--laws", type=int, default=8)
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
            if options.what == "actions":
                for world in WORLDS:
                    measure(
                        {**key, "world": world}, partial(measure_actions, world, model, constrain, reply, options.steps)
                    )
            else:
                for law in FAMILIES[:: len(FAMILIES) // options.laws][: options.laws]:
                    for prompt in lessons_of(law):
                        measured = partial(measure_prompt, model, law, prompt, constrain, reply)
                        measure({**key, "law": law, "prompt": prompt}, measured)
    print_actions(rows) if options.what == "actions" else print_prompts(rows)


def print_table(*rows: tuple[Any, ...]) -> None:
    """Print a table in Markdown; the first row is its head."""
    head, *rest = rows
    for row in (head, ["---"] * len(head), *rest):
        print(f"| {' | '.join(map(str, row))} |")


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


def print_prompts(rows: list[dict[str, Any]]) -> None:
    """Print the gates passed under each prompt, and the difference to `sp_0`, with t intervals over the laws."""
    lines = []
    for key in dict.fromkeys(tuple(row[name] for name in (*SETTING, "prompt")) for row in rows):
        *setting, prompt = key
        chosen = [row for row in rows if [row[name] for name in SETTING] == setting]
        means = {(row["law"], row["prompt"]): sum(row["gates"]) / len(row["gates"]) for row in chosen}
        own = [row for row in chosen if row["prompt"] == prompt]
        gain = mean_interval([means[row["law"], prompt] - means[row["law"], "sp_0"] for row in own])
        gates = [gates for row in own for gates in row["gates"]]
        has_gain = gain is not None and gain.low is not None and prompt != "sp_0"
        shown = f"{gain.mean:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]" if has_gain else ""
        invalid = sum(row["invalid"] for row in own) / sum(row["steps"] for row in own)
        lines.append((*key, len(own), len(gates), f"{sum(gates) / len(gates):.2f}", shown, f"{invalid:.0%}"))
    print_table((*SETTING, "prompt", "laws", "roads", "gates", "minus sp_0 [95 %]", "invalid"), *lines)


if __name__ == "__main__":
    main()
