"""Let real models play worlds of tools, each reply held to a valid call or an answer: calls, scores and tokens.

    python benchmarks/tool_models.py FILE.gguf ... --out tools.jsonl [--tasks 50]

Each task is appended to the file as soon as it is played, and a task that is there is not played again: a run that was
stopped goes on. The table is in docs/results/real_models.md. It needs the extra local and the package bfcl-eval.
"""

from __future__ import annotations

import argparse
import json
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from measuring import note, print_table

from metagym.actor import ToolActor
from metagym.envs.tools import ToolsTask, load_tasks
from metagym.envs.tools.meta import ToolsMetaEnv
from metagym.models.local_model import GGUFChatModel
from metagym.models.local_server import LlamaCppConfig
from metagym.types import Trajectory

MAX_STEPS, MAX_REPLY_TOKENS = 10, 200
ERRORS = ('{"error"', "Error during execution")
"""How the results begin that report an error of the call."""


def actor_of(file: Path, constrain: str) -> ToolActor:
    """Make an actor that plays one task at a time, so that tasks of a family share the prefix with their tools."""
    server = LlamaCppConfig(slots=1, context_tokens=8192, threads=1)
    model = GGUFChatModel(f"local:{file}", server=server, sampling={"max_tokens": MAX_REPLY_TOKENS, "temperature": 0.0})
    return ToolActor(model, constrain=constrain)


def chosen_tasks(num_tasks: int) -> list[ToolsTask]:
    """Return tasks that are spread evenly over the 65 with one API and no variant, those of a family together."""
    tasks = [task for task in load_tasks().values() if len(task.classes) == 1 and "/" not in task.family]
    return sorted((tasks[n * len(tasks) // num_tasks] for n in range(num_tasks)), key=lambda task: task.family)


def figures(trajectory: Trajectory, seconds: float) -> dict[str, Any]:
    """Return what one episode shows."""
    steps, following = trajectory.steps, [step.observation.text for step in trajectory.steps[1:]]
    calls = [number for number, step in enumerate(steps) if step.command is not None and step.command.startswith("{")]
    usages = [step.action.completion.usage for step in steps if step.action.completion is not None]
    return {
        "score": trajectory.score,
        "progress": trajectory.progress,
        "end": trajectory.stop_detail or trajectory.stop_reason,
        "steps": len(steps),
        "invalid": trajectory.num_invalid,
        "calls": len(calls),
        "errors": sum(following[number].startswith(ERRORS) for number in calls if number < len(following)),
        "prompt_tokens": sum(usage.prompt_tokens for usage in usages),
        "cached_tokens": sum(usage.cached_tokens for usage in usages),
        "reply_tokens": sum(usage.completion_tokens for usage in usages),
        "seconds": round(seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", type=Path, help="GGUF files; without any, only the table is printed")
    parser.add_argument("--out", type=Path, required=True, help="the rows, as JSON lines")
    parser.add_argument("--tasks", type=int, default=50)
    parser.add_argument("--constrain", nargs="+", default=["auto"], choices=["auto", "off"])
    options = parser.parse_args()
    rows = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    for file in options.models:
        for constrain in options.constrain:
            known = {row["task"] for row in rows if (row["model"], row["constrain"]) == (file.stem, constrain)}
            with closing(ToolsMetaEnv(actor_of(file, constrain), max_steps=MAX_STEPS, allow_bad_batches=True)) as env:
                for task in chosen_tasks(options.tasks):
                    if task.id in known:
                        continue
                    start = time.perf_counter()
                    ((trajectory,),) = (item.trajectories for item in env.replay([env.default_prompt], [task.id]))
                    row = {"model": file.stem, "constrain": constrain, "task": task.id, "family": task.family}
                    rows.append({**row, **figures(trajectory, time.perf_counter() - start)})
                    note(json.dumps(rows[-1]))
                    with options.out.open("a") as out:
                        out.write(json.dumps(rows[-1]) + "\n")
    print_models(rows)


def print_models(rows: list[dict[str, Any]]) -> None:
    """Print one line for each model and form of its replies."""
    head = ("model", "constrain", "tasks", "steps", "invalid", "calls", "errors", "progress", "score")
    lines = []
    for key in dict.fromkeys((row["model"], row["constrain"]) for row in rows):
        own = [row for row in rows if (row["model"], row["constrain"]) == key]
        total = {name: sum(row[name] or 0 for row in own) for name in own[0] if isinstance(own[0][name], int | float)}
        share = {name: f"{total[name] / max(1, total['steps']):.1%}" for name in ("invalid", "calls")}
        errors = f"{total['errors'] / max(1, total['calls']):.1%}"
        means = (f"{total[name] / len(own):.3f}" for name in ("progress", "score"))
        tokens = [f"{total[name] / max(1, total['steps']):.0f}" for name in ("prompt_tokens", "reply_tokens")]
        cached = f"{total['cached_tokens'] / max(1, total['prompt_tokens']):.0%}"
        seconds = f"{total['seconds'] / max(1, total['steps']):.1f}"
        lines.append(
            (*key, len(own), total["steps"], share["invalid"], share["calls"], errors, *means, *tokens, cached, seconds)
        )
    print_table((*head, "sent", "replied", "cached", "s"), *lines)


if __name__ == "__main__":
    main()
