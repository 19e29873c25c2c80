"""`metagym runs`: the runs in a folder, with their state, score, verdict, model, date and use."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument

from metagym.cli.console import JsonOption, print_json, print_text
from metagym.errors import RunFolderError
from metagym.rendering import visible

if TYPE_CHECKING:
    from metagym.runs.watching import RunState


def runs_command(
    folder: Annotated[Path, Argument(help="The folder to search, with all folders below it.")] = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """List the runs in a folder: state, score, verdict, models, when each was started, how long it took, its use."""
    from metagym.runs import MANIFEST, read_manifest
    from metagym.runs.watching.run_watcher import RunWatcher

    rows = []
    for file in sorted(folder.rglob(MANIFEST)):
        row: dict[str, Any] = {"run": str(file.parent)}
        rows.append(row)
        try:
            manifest = read_manifest(file.parent)
        except RunFolderError as error:
            row.update(kind="unreadable", problem=str(error))
            continue
        watcher = RunWatcher(file.parent, str(file.parent))
        state = watcher.look(time.time())
        while watcher.is_behind:
            state = watcher.look(time.time())
        summary, about = state.summary, manifest.evaluation
        row.update(
            kind="run" if about is None else "evaluation",
            environment=manifest.env_id,
            arm="" if about is None else about["arm"],
            state=state.status,
            finished=state.status == "finished",
            scripted=state.scripted,
            score=_score(state),
            verdict=_verdict(file.parent),
            num_episodes=state.num_episodes,
        )
        if summary is not None:
            row.update(summary.model_dump(exclude={"actor"}), model=summary.actor, about=summary.text)
    if as_json:
        print_json([{name: value for name, value in row.items() if name != "about"} for row in rows])
        return
    # Lines, not a table: in 80 columns a table would break the paths, which are to be copied.
    for row in rows:
        for line in _lines(row):
            print_text(visible(line, one_line=True))
    if not rows:
        print_text(f"No run in {folder}. Name the folder that holds them: metagym runs FOLDER")


def _lines(row: dict[str, Any]) -> list[str]:
    if "problem" in row:
        return [f"{row['run']}  unreadable", f"  {row['problem']}"]
    head = [row["run"], row["state"], *([] if row["score"] is None else [f"score {row['score']:.2f}"])]
    arm = f", arm {row['arm']}" * bool(row["arm"])
    lines = ["  ".join(head + ["SCRIPTED"] * row["scripted"]), f"  {row['environment']}{arm}"]
    lines += [f"  {line}" for line in row.get("about", "").splitlines()]
    return lines + [f"  {row['verdict']}"] * bool(row["verdict"])


def _score(state: RunState) -> float | None:
    """Return the last reward of a run, or the mean test score of an evaluation's chosen prompts."""
    if state.kind == "run":
        rewards = [score for curve in state.curves for score in curve.online if score is not None]
        return rewards[-1] if rewards else None
    tests = [curve.tests["test chosen"] for curve in state.curves if "test chosen" in curve.tests]
    return sum(tests) / len(tests) if tests else None


def _verdict(run: Path) -> str:
    """Return the verdict of a finished evaluation; empty for other runs."""
    from metagym.runs import REPORT

    try:
        return str(json.loads((run / REPORT).read_text(encoding="utf-8")).get("verdict", ""))
    except (OSError, ValueError, AttributeError, RecursionError):
        return ""
