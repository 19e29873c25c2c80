"""What learning took: averages over meta-episodes, and curves of the validation score against it.

The validation tasks are the same for all arms and choose nothing here, so that a curve may fall. Each point of a
curve is the score of the last prompt that was known by then.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from metagym.budget import BudgetUse
from metagym.evaluation.report import EvaluationReport
from metagym.runs.measurements import Learned
from metagym.statistics import Estimate, macro_average, mean_interval
from metagym.types import Record

Axis = Literal["meta-steps", "episodes", "tokens", "cost"]
AXES: Final[tuple[Axis, ...]] = ("meta-steps", "episodes", "tokens", "cost")
NUM_POINTS: Final = 26


class EffortCurve(Record):
    """The validation score of one arm against what its learning took, along one axis."""

    arm: str
    axis: Axis
    x: tuple[float, ...]
    """What learning had taken, per meta-episode, ascending from 0."""
    scores: tuple[Estimate | None, ...]
    """Validation score of the last prompt known there, over seeds, families with equal weight."""


def curves_of(reports: Sequence[EvaluationReport]) -> tuple[EffortCurve, ...]:
    """Return the curves of all arms on common axes. An axis along which learning took nothing is left out."""
    found = []
    for axis in AXES:
        end = max((max(_places(item, axis)) for report in reports for item in report.learned), default=0.0)
        if end > 0:
            grid = _grid(axis, end)
            x = tuple(grid.tolist())
            found += [
                EffortCurve(arm=report.arm, axis=axis, x=x, scores=_scores(report, axis, grid)) for report in reports
            ]
    return tuple(found)


def average_effort(learned: Sequence[Learned]) -> dict[str, object]:
    """Return the fields of a `Standing` that say what the meta-episodes took."""
    num = max(1, len(learned))
    reasons = [item.stopped for item in learned if item.stopped]
    amounts = {name: [getattr(item.total, name) for item in learned] for name in BudgetUse.model_fields}
    means = {name: sum(values) / num for name, values in amounts.items()}
    return {
        "outlay": {name: mean if name == "cost" else math.ceil(mean) for name, mean in means.items()},
        "most": {name: max(values, default=0) for name, values in amounts.items()},
        "meta_steps": sum(item.num_meta_steps for item in learned) / num,
        "num_stopped": len(reasons),
        "num_meta_episodes": len(learned),
        "why_stopped": max(reasons, key=reasons.count, default=""),
    }


def _scores(report: EvaluationReport, axis: Axis, grid: NDArray[np.float64]) -> tuple[Estimate | None, ...]:
    by_key = {item.key: item for item in report.learned}
    scores = {(item.family, item.seed): item.scores for item in report.prompt_scores}
    seeds = list(dict.fromkeys(item.seed for item in report.learned))
    families = list(dict.fromkeys(item.family for item in report.learned))
    tables = [
        np.array([_scores_along(by_key[family, seed], scores.get((family, seed), ()), axis, grid) for seed in seeds])
        for family in families
    ]
    return tuple(mean_interval(macro_average([table[:, place] for table in tables])) for place in range(len(grid)))


def _scores_along(
    learned: Learned, scores: Sequence[float | None], axis: Axis, grid: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the score at each place of the grid."""
    places = _places(learned, axis)
    known = np.array([np.nan if score is None else score for score in scores[: len(places)]])
    # The first prompt is known from the start, even if an optimizer reports only the total that it took.
    index = np.maximum(np.searchsorted(np.array(places), grid, side="right") - 1, 0)
    return known[np.minimum(index, len(known) - 1)] if len(known) else np.full(len(grid), np.nan)


def _places(learned: Learned, axis: Axis) -> list[float]:
    """Return the place on the axis at which each measured prompt became known, ascending."""
    if axis == "meta-steps":
        return [float(number) for number in range(len(learned.prompts))]
    return [float(getattr(outlay, axis)) for outlay in learned.outlays]


def _grid(axis: Axis, end: float) -> NDArray[np.float64]:
    return np.arange(end + 1) if axis == "meta-steps" else np.linspace(0.0, end, NUM_POINTS)
