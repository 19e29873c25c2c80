"""Figures of evaluations, arenas and single runs, drawn with matplotlib. With scripted episodes a figure says so."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from metagym.errors import ConfigError, RunFolderError
from metagym.evaluation.comparison import Comparison
from metagym.evaluation.output.panels import CurvePanel, Range, Span, axis_of, curve_panel, cut, pieces, ribbon
from metagym.evaluation.report import EvaluationReport
from metagym.evaluation.transfer import TransferMatrix
from metagym.imports import require
from metagym.rendering import visible
from metagym.statistics import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from metagym.evaluation.arena.standings import Standings

FIGURE_FORMATS: Final = (".pdf", ".svg", ".png")
SCORE: Final = "validation score"


def plot_learning_curves(reports: Sequence[EvaluationReport], *, labels: Sequence[str] | None = None) -> Figure:
    """Draw the raw validation score of each prompt with its 95 % interval: one panel a family, one line an arm.

    The last panel holds all families. Crosses mark the test score of the chosen prompt. Beside other arms the null
    controls are one band; the A/A run is a line. `labels` name the arms, by default as they are called.
    """
    names = [report.arm for report in reports] if labels is None else labels
    families = [*dict.fromkeys(family for report in reports for family in report.families), None]
    figure, panels = _make_figure(len(families), any(report.scripted for report in reports))
    for panel, family in zip(panels, families, strict=True):
        _draw_curves(panel, curve_panel(reports, names, family))
    panels[0].set_ylabel(SCORE)
    panels[-1].legend(fontsize="small")
    return figure


def plot_rewards(rewards: Mapping[str, Sequence[float | None]], *, scripted: bool) -> Figure:
    """Draw the reward of each meta-step of single runs, one line a run; a meta-step without a reward is a gap.

    Each batch is small and mostly of other tasks, so that much of a line is noise; it has no interval.
    """
    figure, (panel,) = _make_figure(1, scripted, size=(5.0, 3.4))
    for number, (name, values) in enumerate(rewards.items()):
        known = [math.nan if value is None else value for value in values]
        panel.plot(range(len(known)), known, linestyle=_dashes(number), marker="o", markersize=3, label=_label(name))
    _set_axes(panel, "meta-step", axis_of(value for values in rewards.values() for value in values))
    panel.set_ylabel("mean score of the batch")
    panel.legend(fontsize="small")
    return figure


def plot_standings(standings: Standings) -> Figure:
    """Draw the validation score of an arena's arms against the cost of learning: one panel an axis, one line an arm.

    Controls are dashed. Intervals are in `arena.json`: of a dozen lines they would hide each other.
    """
    axes = list(dict.fromkeys(curve.axis for curve in standings.curves)) or ["meta-steps"]
    figure, panels = _make_figure(len(axes), standings.scripted)
    controls = {row.arm for row in standings.rows if row.is_control}
    arms = [row.arm for row in standings.rows]
    for panel, axis in zip(panels, axes, strict=True):
        for curve in standings.curves:
            known = [(x, item.mean) for x, item in zip(curve.x, curve.scores, strict=True) if item is not None]
            if curve.axis == axis and known:
                number = arms.index(curve.arm)
                dashes = "--" if curve.arm in controls else "-" if number < 10 else ":"
                style: dict[str, Any] = {"color": f"C{number % 10}", "linestyle": dashes, "label": _label(curve.arm)}
                panel.step(*zip(*known, strict=True), where="post", **style)
        panel.set_xlabel(f"{'money' if axis == 'cost' else axis} taken by learning")
    panels[0].set_ylabel(f"{SCORE} of the prompt")
    panels[-1].legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1.02, 0.5))
    return figure


def plot_transfer(matrix: TransferMatrix) -> Figure:
    """Draw the transfer matrix as a heat map: gains over `sp_0`; a star marks an interval that excludes 0."""
    size = (2 + 0.9 * len(matrix.targets), 2 + 0.5 * len(matrix.sources))
    figure, (panel,) = _make_figure(1, matrix.scripted, size=size)
    means = np.array([[np.nan if item is None else item.mean for item in row] for row in matrix.gains], dtype=float)
    reach = float(np.nanmax(np.abs(means), initial=0.01))
    image = panel.imshow(means, cmap="RdBu", vmin=-reach, vmax=reach, aspect="auto")
    for (row, column), mean in np.ndenumerate(means):
        estimate = matrix.gains[row][column]
        star = "*" if estimate is not None and estimate.sign else ""
        panel.text(column, row, f"{mean:+.2f}{star}", ha="center", va="center", fontsize="small")
    panel.set_xticks(range(len(matrix.targets)), matrix.targets, rotation=45, ha="right")
    panel.set_yticks(range(len(matrix.sources)), matrix.sources)
    panel.set_xlabel("scored on")
    panel.set_ylabel("learned on")
    figure.colorbar(image, ax=panel, label="gain over sp_0")
    return figure


def plot_differences(comparisons: Sequence[Comparison]) -> Figure:
    """Draw the paired differences with their intervals; the A/A comparison is a band behind them."""
    scripted, size = any(item.scripted for item in comparisons), (6.0, 1.6 + 0.4 * len(comparisons))
    figure, (panel,) = _make_figure(1, scripted, size=size)
    shown = [(item, item.difference) for item in comparisons if item.difference is not None]
    for row, (item, estimate) in enumerate(shown):
        is_floor = item.second_kind == "same again" and not item.second_misses_chance
        if is_floor and estimate.low is not None and estimate.high is not None:
            panel.axvspan(estimate.low, estimate.high, color="0.85", label="A/A band")
            panel.legend(fontsize="small")
        panel.errorbar(estimate.mean, row, xerr=_error(estimate), fmt="o", color="C0", capsize=3)
    panel.axvline(0.0, color="black", linewidth=0.8)
    panel.set_yticks(range(len(shown)), [item.second for item, _ in shown])
    panel.invert_yaxis()
    panel.set_xlabel(f"{comparisons[0].first} minus the other: test score, paired by seed, 95 %")
    return figure


def check_figure_path(path: Path) -> None:
    """Check that a figure can be drawn and that its file's suffix is one of `FIGURE_FORMATS`."""
    if path.suffix.lower() not in FIGURE_FORMATS:
        raise ConfigError(f"Expected a figure's file to end in one of {', '.join(FIGURE_FORMATS)}, got {path.name!r}.")
    require("matplotlib", extra="report")


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure to a file, in the format that its suffix names: the same bytes each time, text as text."""
    check_figure_path(path)
    kind = path.suffix.lower().lstrip(".")
    content = BytesIO()
    # Without a date, and with ids from a fixed salt; fonts as fonts, so that the text can be searched and edited.
    metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {"Software": None}}[kind]
    with require("matplotlib", extra="report").rc_context(
        {"svg.hashsalt": "metagym", "svg.fonttype": "none", "pdf.fonttype": 42}
    ):
        figure.savefig(content, format=kind, metadata=metadata, dpi=200)
    try:
        path.write_bytes(content.getvalue())
    except OSError as error:
        raise RunFolderError(f"Expected a file that can be written at {path}: {error}.") from error


def _draw_curves(panel: Axes, shown: CurvePanel) -> None:
    if shown.band:
        _fill(panel, shown.band, color="0.8", label=f"null controls ({shown.num_null_controls})")
    for number, line in enumerate(shown.lines):
        color, known = f"C{number}", [(place, item.mean) for place, item in enumerate(line.curve) if item is not None]
        places, means = zip(*known, strict=True) if known else ((), ())
        panel.plot(places, means, color=color, linestyle=_dashes(number), label=_label(line.label))
        _fill(panel, ribbon(line.curve, shown.score_range), color=color, alpha=0.2)
        if (test := line.figures.test_chosen) is not None:
            place = len(line.curve) - 0.6 + 0.12 * number  # equal arms must not hide each other
            panel.errorbar(place, test.mean, yerr=_error(test, shown.score_range), fmt="x", color=color, capsize=3)
    panel.set_title(_label(shown.title))
    _set_axes(panel, "prompt", shown.score_range)


def _fill(panel: Axes, spans: Sequence[Span], **style: Any) -> None:
    for stretch in pieces(spans):
        places, low, high = ([span[column] for span in stretch] for column in range(3))
        if len(stretch) == 1:  # an area needs a width
            places, low, high = [places[0] - 0.05, places[0] + 0.05], low * 2, high * 2
        panel.fill_between(places, low, high, linewidth=0, **style)
        style.pop("label", None)  # one entry in the legend


def _set_axes(panel: Axes, label: str, score_range: Range) -> None:
    panel.set_xlabel(label)
    panel.locator_params(axis="x", integer=True)
    low, high = score_range
    margin = 0.03 * (high - low)
    panel.set_ylim(low - margin, high + margin)


def _dashes(number: int) -> str:
    return ("-", "--", "-.", ":")[number % 4]  # lines differ without colours, too


def _label(text: str) -> str:
    """Return a name as matplotlib shows it: a dollar begins no formula, and no character is one that files refuse."""
    shown = visible(text, one_line=True).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown  # a legend leaves out names that begin with an underscore


def _error(estimate: Estimate, score_range: Range = (-math.inf, math.inf)) -> Any:
    """Return the lengths of an error bar, cut at the range of the axis; None without an interval."""
    if estimate.low is None or estimate.high is None:
        return None
    low, high = cut(estimate.low, estimate.high, score_range)
    return [[max(0.0, estimate.mean - low)], [max(0.0, high - estimate.mean)]]


def _make_figure(
    num_panels: int, scripted: bool, *, size: tuple[float, float] | None = None
) -> tuple[Figure, list[Axes]]:
    require("matplotlib", extra="report")
    # No pyplot: it keeps global state and wants a display on some machines.
    make_figure = require("matplotlib.figure", extra="report").Figure
    figure = make_figure(figsize=size or (3.2 * num_panels, 3.2), layout="constrained")
    require("matplotlib.backends.backend_agg", extra="report").FigureCanvasAgg(figure)
    panels = figure.subplots(1, num_panels, squeeze=False)[0]
    if scripted:
        figure.suptitle("SCRIPTED: no language model", color="firebrick", fontsize="small")
    return figure, list(panels)
