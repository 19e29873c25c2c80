"""Commands that look at a finished run: `metagym show`, `verify`; and how a history is printed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from metagym.cli import models
from metagym.cli.console import JsonOption, console, print_json, print_text
from metagym.errors import ConfigError
from metagym.rendering import plural
from metagym.types import MetaStep

RunArgument = Annotated[Path, typer.Argument(help="The run folder.")]
SCRIPTED = "SCRIPTED: a stand-in played, this says nothing about language models."


def show(
    run: RunArgument,
    step: Annotated[int | None, typer.Option(help="Show this meta-step's episodes.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show a run: rewards and prompts, one meta-step's episodes, or what an evaluated arm came to."""
    from metagym.evaluation.output.tables import report_tables
    from metagym.evaluation.store import report_of
    from metagym.rendering import render_batch
    from metagym.runs import RunFolder

    folder = RunFolder.open(run)
    about = folder.manifest.evaluation
    if about is not None:
        if step is not None or about.get("protocol") == "stream":
            raise ConfigError(
                f"{run} is an evaluation, many meta-episodes rather than one. Its figures and its episodes: metagym "
                f"report {run} -o report.html"
            )
        report = report_of(folder)
        if as_json:
            print_json(report.model_dump(mode="json"))
            return
        console.print(*report_tables(report), sep="\n", highlight=False)
        print_text(f"\n{plural(folder.num_episodes, 'episode')} in {run}: metagym report {run} -o report.html")
        return
    history = folder.history
    if step is None:
        if as_json:
            print_json({**summary(history, run, folder.manifest.scripted), "num_episodes": folder.num_episodes})
            return
        print_history(history, folder.manifest.scripted)
        print_text(f"\n{plural(folder.num_episodes, 'episode')} in {run}")
        models.print_spending(run)
    elif 0 <= step < len(history):
        if as_json:
            print_json(history[step].model_dump(mode="json"))
        else:
            console.print(render_batch(history[step].trajectories, show_thoughts=True), markup=False, highlight=False)
    elif not history:
        raise ConfigError(f"No meta-step was finished in {run}, so there is none to show.")
    else:
        raise ConfigError(f"--step must be from 0 to {len(history) - 1}, got {step}.")


def verify(run: RunArgument, as_json: JsonOption = False) -> None:
    """Execute a run's recorded commands again, without any model, and compare what is seen and scored."""
    from metagym.runs.verification import verify_run

    report = verify_run(run)
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        for difference in report.differences[:10]:
            where = f"{difference.task_id}, step {difference.step}, {difference.field}:"
            then, now = f"  recorded {difference.recorded:.300}", f"  again    {difference.again:.300}"
            console.print(f"{where}\n{then}\n{now}", markup=False, highlight=False)
        skipped = f", {report.num_skipped} failed ones skipped" if report.num_skipped else ""
        played = f"{plural(report.num_episodes, 'episode')}, {plural(report.num_steps, 'step')}"
        console.print(
            f"{played}{skipped}: {len(report.differences)} differ.",
            highlight=False,
        )
    if report.differences:
        raise typer.Exit(1)


def summary(history: Sequence[MetaStep], run: Path, scripted: bool) -> dict[str, Any]:
    """Return what a run came to, as a JSON mapping."""
    return {
        "run": str(run),
        "scripted": scripted,
        "rewards": [meta_step.reward for meta_step in history],
        "num_failed": [meta_step.num_failed for meta_step in history],
        "prompts": [meta_step.prompt for meta_step in history],
        "spending": models.spending(run),
    }


def print_history(history: Sequence[MetaStep], scripted: bool) -> None:
    """Print the rewards as a table, and the first and the last prompt."""
    if not history:
        console.print("No meta-step was finished.")
        return
    table = Table("meta-step", "reward", "", "episodes", "failed", "invalid", caption=SCRIPTED if scripted else None)
    for meta_step in history:
        reward = 0.0 if meta_step.reward is None else meta_step.reward
        trajectories = meta_step.trajectories
        table.add_row(
            str(meta_step.index),
            "-" if meta_step.reward is None else f"{reward:.2f}",
            "█" * round(20 * max(0.0, min(1.0, reward))),
            str(len(trajectories)),
            str(meta_step.num_failed),
            str(sum(trajectory.num_invalid for trajectory in trajectories)),
        )
    console.print(table)
    for title, meta_step in (("First prompt", history[0]), ("Last prompt", history[-1])):
        console.print(f"\n[bold]{title}[/bold] (meta-step {meta_step.index})", highlight=False)
        console.print(meta_step.prompt, markup=False, highlight=False)
