"""Figures of evaluations, drawn with matplotlib (extra `report`). A figure with scripted episodes says so."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from metagym.errors import ConfigError, MissingExtraError, RunFolderError
from metagym.evaluation.comparison import Comparison
from metagym.evaluation.figures import Figures
from metagym.evaluation.report import EvaluationReport
from metagym.evaluation.transfer import TransferMatrix
from metagym.statistics import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


FORMATS: Final = (".pdf", ".svg", ".png")


def plot_learning_curves(reports: Sequence[EvaluationReport], *, labels: Sequence[str] | None = None) -> Figure:
    """Draw the raw validation score of each prompt with its 95 % interval: one panel a family, one line an arm.

    The last panel holds all families. Crosses mark the test score of the chosen prompt. Best-so-far is not drawn.
    Beside other arms the null controls are one band, from the lowest end of their intervals to the highest;
    the A/A run is a line. `labels` name the arms, by default as they are called.
    """
    names = [report.arm for report in reports] if labels is None else labels
    families = list(dict.fromkeys(family for report in reports for family in report.families))
    figure, panels = make_figure(len(families) + 1, any(report.scripted for report in reports))
    named = list(zip(reports, names, strict=True))
    arms = [(report, name) for report, name in named if report.kind != "null control"] or named
    nulls = [report for report in reports if report.kind == "null control"] if len(arms) < len(named) else []
    for panel, family in zip(panels, [*families, None], strict=True):
        _band(panel, [_figures_of(report, family) for report in nulls])
        for number, (report, name) in enumerate(arms):
            figures = _figures_of(report, family)
            if figures is not None:
                _curve(panel, figures, _label(name), number)
        panel.set_title("all families" if family is None else _label(family))
        panel.set_xlabel("prompt")
        panel.locator_params(axis="x", integer=True)
        panel.set_ylim(-0.03, 1.03) if reports[0].config.score_range == (0.0, 1.0) else None
    panels[0].set_ylabel("validation score")
    panels[-1].legend(fontsize="small")
    return figure


def plot_rewards(rewards: Mapping[str, Sequence[float | None]], *, scripted: bool) -> Figure:
    """Draw the reward of each meta-step of single runs, one line a run; a meta-step without a reward is a gap.

    Each batch is small and mostly of other tasks, so that a line is noise to a good part; it has no interval.
    """
    figure, (panel,) = make_figure(1, scripted, size=(5.0, 3.4))
    for number, (name, values) in enumerate(rewards.items()):
        known = [math.nan if value is None else value for value in values]
        panel.plot(range(len(known)), known, linestyle=_dashes(number), marker="o", markersize=3, label=_label(name))
    if all(0.0 <= value <= 1.0 for values in rewards.values() for value in values if value is not None):
        panel.set_ylim(-0.03, 1.03)
    panel.locator_params(axis="x", integer=True)
    panel.set_xlabel("meta-step")
    panel.set_ylabel("mean score of the batch")
    panel.legend(fontsize="small")
    return figure


def check_figure_path(path: Path) -> None:
    """Make sure that a figure can be drawn and that its file's suffix names a format.

    Raises:
        ConfigError: the suffix is none of `FORMATS`.
        MissingExtraError: matplotlib is not installed.
    """
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"A figure's file ends in {', '.join(FORMATS)}, got {path.name!r}.")
    _import_matplotlib()


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure to a file, in the format that its suffix names: the same bytes each time, text as text.

    Raises:
        ConfigError, MissingExtraError: as `check_figure_path` raises.
        RunFolderError: the file cannot be written.
    """
    check_figure_path(path)
    from matplotlib import rc_context

    kind = path.suffix.lower().lstrip(".")
    content = BytesIO()
    # Without a date, and with ids from a fixed salt; fonts as fonts, so that the text can be searched and edited.
    metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {"Software": None}}[kind]
    with rc_context({"svg.hashsalt": "metagym", "svg.fonttype": "none", "pdf.fonttype": 42}):
        figure.savefig(content, format=kind, metadata=metadata, dpi=200)
    try:
        path.write_bytes(content.getvalue())
    except OSError as error:
        raise RunFolderError(f"Expected a file that can be written at {path}: {error}.") from error


def plot_transfer(matrix: TransferMatrix) -> Figure:
    """Draw the transfer matrix as a heat map: gains over `sp_0`; a star marks an interval that excludes 0."""
    figure, (panel,) = make_figure(
        1, matrix.scripted, size=(2 + 0.9 * len(matrix.targets), 2 + 0.5 * len(matrix.sources))
    )
    means = np.array([[np.nan if item is None else item.mean for item in row] for row in matrix.gains], dtype=float)
    reach = float(np.nanmax(np.abs(means), initial=0.01))
    image = panel.imshow(means, cmap="RdBu", vmin=-reach, vmax=reach, aspect="auto")
    for (row, column), mean in np.ndenumerate(means):
        estimate = matrix.gains[row][column]
        star = "*" if estimate is not None and estimate.excludes_zero else ""
        panel.text(column, row, f"{mean:+.2f}{star}", ha="center", va="center", fontsize="small")
    panel.set_xticks(range(len(matrix.targets)), matrix.targets, rotation=45, ha="right")
    panel.set_yticks(range(len(matrix.sources)), matrix.sources)
    panel.set_xlabel("scored on")
    panel.set_ylabel("learned on")
    figure.colorbar(image, ax=panel, label="gain over sp_0")
    return figure


def plot_differences(comparisons: Sequence[Comparison]) -> Figure:
    """Draw the paired differences with their intervals; the A/A comparison is a band behind them."""
    figure, (panel,) = make_figure(
        1, any(item.scripted for item in comparisons), size=(6.0, 1.6 + 0.4 * len(comparisons))
    )
    shown = [item for item in comparisons if item.difference is not None]
    for row, item in enumerate(shown):
        estimate = item.difference
        assert estimate is not None
        if item.second_kind == "same again" and estimate.low is not None and estimate.high is not None:
            panel.axvspan(estimate.low, estimate.high, color="0.85", label="A/A band")
            panel.legend(fontsize="small")
        panel.errorbar(estimate.mean, row, xerr=_error(estimate), fmt="o", color="C0", capsize=3)
    panel.axvline(0.0, color="black", linewidth=0.8)
    panel.set_yticks(range(len(shown)), [item.second for item in shown])
    panel.invert_yaxis()
    panel.set_xlabel(f"{comparisons[0].first} minus the other: test score, paired by seed, 95 %")
    return figure


def _curve(panel: Axes, figures: Figures, label: str, number: int) -> None:
    color = f"C{number}"
    known = [(index, item) for index, item in enumerate(figures.validation) if item is not None]
    places = [index for index, _ in known]
    panel.plot(places, [item.mean for _, item in known], color=color, linestyle=_dashes(number), label=label)
    low, high = [_ends(item)[0] for _, item in known], [_ends(item)[1] for _, item in known]
    panel.fill_between(places, low, high, color=color, alpha=0.2, linewidth=0)
    if figures.test_chosen is not None:
        test = figures.test_chosen
        place = len(figures.validation) - 0.6 + 0.12 * number  # equal arms must not hide each other
        panel.errorbar(place, test.mean, yerr=_error(test), fmt="x", color=color, capsize=3)


def _band(panel: Axes, controls: Sequence[Figures | None]) -> None:
    """Draw where the null controls lie: at each prompt from the lowest end of an interval to the highest."""
    curves = [figures.validation for figures in controls if figures is not None]
    ends: dict[int, list[float]] = {}
    for curve in curves:
        for place, item in enumerate(curve):
            if item is not None:
                ends.setdefault(place, []).extend(_ends(item))
    low, high = [min(ends[place]) for place in sorted(ends)], [max(ends[place]) for place in sorted(ends)]
    if ends:
        panel.fill_between(sorted(ends), low, high, color="0.8", linewidth=0, label=f"null controls ({len(curves)})")


def _ends(estimate: Estimate) -> tuple[float, float]:
    """Return the interval's ends; the mean twice where there is none."""
    low, high = estimate.low, estimate.high
    return (estimate.mean if low is None else low), (estimate.mean if high is None else high)


def _dashes(number: int) -> str:
    """Return the line style that tells an arm where its colour does not."""
    return ("-", "--", "-.", ":")[number % 4]


def _figures_of(report: EvaluationReport, family: str | None) -> Figures | None:
    return report.overall if family is None else report.families.get(family)


def _label(text: str) -> str:
    """Return a name as matplotlib shows it: a dollar begins no formula, and no character is one that files refuse."""
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown  # a legend leaves out what begins with an underscore


def _error(estimate: Estimate) -> Any:
    if estimate.low is None or estimate.high is None:
        return None
    return [[estimate.mean - estimate.low], [estimate.high - estimate.mean]]


def make_figure(
    num_panels: int, scripted: bool, *, size: tuple[float, float] | None = None
) -> tuple[Figure, list[Axes]]:
    """Return a figure with so many panels side by side.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    _import_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # No pyplot: it keeps global state and wants a display on some machines.
    figure = Figure(figsize=size or (3.2 * num_panels, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, num_panels, squeeze=False)[0]
    if scripted:
        figure.suptitle("SCRIPTED: stand-ins, no language model", color="firebrick", fontsize="small")
    return figure, list(panels)


def _import_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("Plots need matplotlib: pip install 'metagym[report]'.") from error
