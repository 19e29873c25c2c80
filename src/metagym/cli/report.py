"""`metagym report` and `plot`: runs as one HTML page, and learning curves as one figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from metagym.cli.console import JsonOption, print_json, print_text
from metagym.errors import ConfigError, RunFolderError
from metagym.files import quoted
from metagym.rendering import plural

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RunsArgument = Annotated[list[Path], Argument(help="Run folders, or folders that hold some, such as an evaluation's.")]


def report_command(
    runs: RunsArgument,
    out: Annotated[Path, Option("--out", "-o", help="The HTML file to write.")] = Path("report.html"),
    episodes: Annotated[int, Option(min=0, help="The most episodes that can be opened in the page.")] = 1_000,
    as_json: JsonOption = False,
) -> None:
    """Write one HTML file to look at runs: it opens offline, by a double click."""
    from metagym.report import make_report

    made = make_report(runs, out, max_episodes=episodes)
    if as_json:
        print_json(made._asdict())
        return
    for problem in made.problems:
        print_text(f"Note: {problem}")
    shown = plural(made.num_episodes, "episode")
    if made.num_episodes < made.num_recorded:
        shown = f"{made.num_episodes:,} of {made.num_recorded:,} episodes (--episodes N takes in more)"
    print_text(f"{made.path}: {plural(made.num_runs, 'run')}, {shown}, {made.num_bytes / 1e6:.1f} MB")


def plot_command(
    runs: RunsArgument,
    out: Annotated[Path, Option("--out", "-o", help="The figure: a file in .pdf, .svg or .png.")],
) -> None:
    """Draw learning curves: of evaluations, with their null controls as a band, or of single runs."""
    from metagym.evaluation.controls import recorded_kind
    from metagym.evaluation.output.plots import check_figure_path, write_figure
    from metagym.runs import read_manifest
    from metagym.runs.watching.watcher import run_folders

    check_figure_path(out)
    folders = list(dict.fromkeys(folder for run in runs for folder in list(run_folders(run)) or [run]))
    kinds = {folder: read_manifest(folder).evaluation for folder in folders}
    evaluated = [folder for folder, about in kinds.items() if about is not None]
    arms = [folder for folder in evaluated if folder in runs or recorded_kind(kinds[folder]) != "tuning"]
    singles = [folder for folder, about in kinds.items() if about is None]
    if arms and singles:
        raise ConfigError(f"Expected either evaluations or single runs, got both: {arms[0]} and {singles[0]}.")
    write_figure(_draw_evaluations(arms) if arms else _draw_runs(singles), out)
    print_text(f"learning curves of {plural(len(arms or singles), 'run')} in {out}")


def _draw_evaluations(folders: Sequence[Path]) -> Figure:
    from metagym.evaluation.comparison import differences
    from metagym.evaluation.output.plots import plot_learning_curves
    from metagym.evaluation.store import read_report

    reports = [read_report(folder) for folder in folders]
    for folder, report in zip(folders, reports, strict=True):
        if not report.config.num_validation:
            raise ConfigError(
                f"{folder} has no learning curve: it was evaluated with num_validation=0, so that only sp_0 and the "
                f"last prompt were scored. metagym show {quoted(folder)} prints these scores."
            )
        if not any(report.overall.validation):
            raise RunFolderError(
                f"{folder} cannot be drawn yet: no prompt has a validation score. To see its progress: metagym watch "
                f"{folder}"
            )
        if differing := differences(reports[0], report):
            raise ConfigError(
                f"{folders[0]} and {folder} were not measured alike ({'; '.join(differing)}), so one figure of both "
                "would mislead. Draw one figure for each."
            )
    is_unique = len({report.arm for report in reports}) == len(reports)
    return plot_learning_curves(reports, labels=None if is_unique else list(map(str, folders)))


def _draw_runs(folders: Sequence[Path]) -> Figure:
    from metagym.evaluation.output.plots import plot_rewards
    from metagym.runs import RunFolder

    rewards, scripted = {}, []
    for folder in folders:
        with RunFolder.open(folder) as run:
            history = run.history
        if not history:
            raise RunFolderError(
                f"{folder} cannot be drawn yet: no meta-step was finished. To see its progress: metagym watch {folder}"
            )
        scripted.append(run.manifest.scripted or any(item.scripted for item in history))
        rewards[f"{folder} (SCRIPTED)" if scripted[-1] else str(folder)] = [item.reward for item in history]
    return plot_rewards(rewards, scripted=any(scripted))
