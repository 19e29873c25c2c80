"""`metagym plot RUN ... -o FILE`: the learning curves of runs as one figure. It only asks and prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from metagym.cli.console import console
from metagym.errors import ConfigError, RunFolderError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders of them such as an evaluation's.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The figure: a file in .pdf, .svg or .png.")],
) -> None:
    """Draw learning curves: of evaluations with their null controls as a band, or of single runs."""
    from metagym.evaluation.arms import recorded_kind
    from metagym.evaluation.output.plots import check_figure_path, write_figure
    from metagym.rendering import plural
    from metagym.runs import read_manifest
    from metagym.runs.watching.watcher import run_folders

    check_figure_path(out)
    folders = list(dict.fromkeys(folder for run in runs for folder in list(run_folders(run)) or [run]))
    kinds = {folder: read_manifest(folder).evaluation for folder in folders}
    arms = [
        folder
        for folder, about in kinds.items()
        if about is not None and (folder in runs or recorded_kind(about) != "tuning")
    ]
    singles = [folder for folder, about in kinds.items() if about is None]
    if arms and singles:
        raise ConfigError(f"Expected either evaluations or single runs, got both: {arms[0]} and {singles[0]}.")
    write_figure(_draw_evaluations(arms) if arms else _draw_runs(singles), out)
    drawn = len(arms or singles)
    console.print(f"learning curves of {plural(drawn, 'run')} in {out}", soft_wrap=True, markup=False)


def _draw_evaluations(folders: Sequence[Path]) -> Figure:
    from metagym.evaluation.comparison import differences
    from metagym.evaluation.output.plots import plot_learning_curves
    from metagym.evaluation.store import read_report

    reports = [read_report(folder) for folder in folders]
    for folder, report in zip(folders, reports, strict=True):
        if not any(report.overall.validation):
            raise RunFolderError(
                f"Nothing of {folder} can be drawn yet: no prompt has a validation score. See how far it is: metagym "
                f"watch {folder}"
            )
        if differing := differences(reports[0], report):
            raise ConfigError(
                f"{folders[0]} and {folder} were not measured alike ({'; '.join(differing)}), so that one figure of "
                "both would mislead. Draw one figure for each."
            )
    names = [report.arm for report in reports]
    labels = names if len(set(names)) == len(names) else [str(folder) for folder in folders]
    return plot_learning_curves(reports, labels=labels)


def _draw_runs(folders: Sequence[Path]) -> Figure:
    from metagym.evaluation.output.plots import plot_rewards
    from metagym.runs import RunFolder

    rewards, scripted = {}, False
    for folder in folders:
        with RunFolder.open(folder) as run:
            history = run.history
        if not history:
            raise RunFolderError(
                f"Nothing of {folder} can be drawn yet: no meta-step was finished. See how far it is: metagym watch "
                f"{folder}"
            )
        is_scripted = run.manifest.scripted or any(meta_step.scripted for meta_step in history)
        rewards[f"{folder} (SCRIPTED)" if is_scripted else str(folder)] = [item.reward for item in history]
        scripted = scripted or is_scripted
    return plot_rewards(rewards, scripted=scripted)
