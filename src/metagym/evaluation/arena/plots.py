"""The curves of an arena as a figure (extra `report`). A figure with scripted episodes says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from metagym.evaluation.arena.standings import Standings
from metagym.evaluation.plots import make_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LABELS: Final = {"meta-steps": "meta-steps", "episodes": "episodes", "tokens": "tokens", "cost": "money"}


def plot_curves(standings: Standings) -> Figure:
    """Draw the validation score against what learning had taken: one panel an axis, one line an arm.

    Controls are dashed. Intervals are in `arena.json`: of a dozen lines they would hide each other.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    axes = list(dict.fromkeys(curve.axis for curve in standings.curves)) or ["meta-steps"]
    figure, panels = make_figure(len(axes), standings.scripted)
    controls = {row.arm for row in standings.rows if row.is_control}
    arms = [row.arm for row in standings.rows]
    for panel, axis in zip(panels, axes, strict=True):
        for curve in standings.curves:
            known = [(x, item.mean) for x, item in zip(curve.x, curve.scores, strict=True) if item is not None]
            if curve.axis == axis and known:
                panel.step(
                    [x for x, _ in known],
                    [y for _, y in known],
                    where="post",
                    color=f"C{arms.index(curve.arm) % 10}",
                    linestyle="--" if curve.arm in controls else "-" if arms.index(curve.arm) < 10 else ":",
                    label=curve.arm,
                )
        panel.set_xlabel(f"{LABELS[axis]} taken by learning")
    panels[0].set_ylabel("validation score of the prompt")
    panels[-1].legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1.02, 0.5))
    return figure
