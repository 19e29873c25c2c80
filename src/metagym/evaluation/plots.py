"""Figures of evaluations, drawn with matplotlib (extra `report`). A figure with scripted episodes says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from metagym.errors import MissingExtraError
from metagym.evaluation.comparison import Comparison
from metagym.evaluation.figures import Figures
from metagym.evaluation.report import EvaluationReport
from metagym.evaluation.transfer import TransferMatrix
from metagym.statistics import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_learning_curves(reports: Sequence[EvaluationReport]) -> Figure:
    """Draw the raw validation score of each prompt with its 95 % interval: one panel a family, one line an arm.

    The last panel holds all families. Crosses mark the test score of the chosen prompt. Best-so-far is not drawn.
    """
    families = list(reports[0].families)
    figure, panels = make_figure(len(families) + 1, any(report.scripted for report in reports))
    for panel, family in zip(panels, [*families, None], strict=True):
        for number, report in enumerate(reports):
            figures = report.overall if family is None else report.families.get(family)
            if figures is not None:
                _curve(panel, figures, report.arm, f"C{number}")
        panel.set_title("all families" if family is None else family)
        panel.set_xlabel("prompt")
        panel.set_ylim(-0.03, 1.03) if reports[0].config.score_range == (0.0, 1.0) else None
    panels[0].set_ylabel("validation score")
    panels[-1].legend(fontsize="small")
    return figure


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


def plot_differences(comparisons: Sequence[Comparison], *, noise: str = "same again") -> Figure:
    """Draw the paired differences with their intervals; the A/A comparison, named `noise`, as a band behind."""
    figure, (panel,) = make_figure(
        1, any(item.scripted for item in comparisons), size=(6.0, 1.6 + 0.4 * len(comparisons))
    )
    shown = [item for item in comparisons if item.difference is not None]
    for row, item in enumerate(shown):
        estimate = item.difference
        assert estimate is not None
        if item.second == noise and estimate.low is not None and estimate.high is not None:
            panel.axvspan(estimate.low, estimate.high, color="0.85", label="A/A band")
            panel.legend(fontsize="small")
        panel.errorbar(estimate.mean, row, xerr=_error(estimate), fmt="o", color="C0", capsize=3)
    panel.axvline(0.0, color="black", linewidth=0.8)
    panel.set_yticks(range(len(shown)), [item.second for item in shown])
    panel.invert_yaxis()
    panel.set_xlabel(f"{comparisons[0].first} minus the other: test score, paired by seed, 95 %")
    return figure


def _curve(panel: Axes, figures: Figures, label: str, color: str) -> None:
    known = [(index, item) for index, item in enumerate(figures.validation) if item is not None]
    places = [index for index, _ in known]
    panel.plot(places, [item.mean for _, item in known], color=color, label=label)
    low = [item.mean if item.low is None else item.low for _, item in known]
    high = [item.mean if item.high is None else item.high for _, item in known]
    panel.fill_between(places, low, high, color=color, alpha=0.2, linewidth=0)
    if figures.test_chosen is not None:
        test = figures.test_chosen
        panel.errorbar(len(figures.validation) - 0.5, test.mean, yerr=_error(test), fmt="x", color=color, capsize=3)


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
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("Plots need matplotlib: pip install 'metagym[report]'.") from error
    # No pyplot: it keeps global state and wants a display on some machines.
    figure = Figure(figsize=size or (3.2 * num_panels, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, num_panels, squeeze=False)[0]
    if scripted:
        figure.suptitle("SCRIPTED: stand-ins, no language model", color="firebrick", fontsize="small")
    return figure, list(panels)
