"""The standings of an arena, as data: the score of each method, and the cost of learning. They need no environment.

The curves give the validation score against the cost of learning. The validation tasks are the same for all arms and
choose nothing here, so that a curve may fall.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np

from metagym.budget import Budget, BudgetUse
from metagym.errors import RunFolderError
from metagym.evaluation.comparison import compare
from metagym.evaluation.controls import is_control
from metagym.evaluation.gains import Array
from metagym.evaluation.pairing import scores_by_seed
from metagym.evaluation.report import SCRIPTED_NOTE, EvaluationReport
from metagym.runs.measurements import Learned
from metagym.statistics import Estimate, chosen_on_other_seeds, macro_average, mean_interval, rank_intervals
from metagym.types import SCHEMA_VERSION, Record, Text, Texts

Axis = Literal["meta-steps", "episodes", "tokens", "cost"]
AXES: Final[tuple[Axis, ...]] = ("meta-steps", "episodes", "tokens", "cost")
NUM_POINTS: Final = 26
STANDINGS_FILE: Final = "arena.json"
PLUMBING: Final = (
    "SCRIPTED, plumbing only: a script played or reflected, so that the numbers say nothing about the methods. They "
    "are in the order in which they were given. None is ranked."
)


class EffortCurve(Record):
    """The validation score of one arm against the usage of its learning, along one axis."""

    arm: Text
    axis: Axis
    x: tuple[float, ...]
    """What learning had taken, per meta-episode, ascending from 0."""
    scores: tuple[Estimate | None, ...]
    """Validation score of the last prompt known there, over seeds, families with equal weight."""


class Standing(Record):
    """One method, or control, of an arena."""

    arm: Text
    is_control: bool
    test: Estimate | None
    """Test score of the prompt that was handed over, over seeds; families weigh equally."""
    gain: Estimate | None
    """That minus the test score of `sp_0` on the same tasks, in the same arm. Its interval is of this arm alone."""
    against_baseline: Estimate | None
    """That minus the test score of the baseline's prompt, paired by seed; None for the baseline itself. The intervals
    of all arms hold together."""
    adjusted_p: float | None
    """Holm's p of that difference over all methods and controls; None if a script took part."""
    ranks: tuple[int, int] | None = None
    """The best and the worst rank among the methods that the scores leave open, at 95 % for all methods at once."""
    misses_chance: bool = False
    """Whether it needs chance that its models do not have (temperature 0): its samples are all equal."""
    outlay: BudgetUse
    """The usage of one meta-episode's learning, on average (whole numbers are rounded up)."""
    most: BudgetUse
    """The most that any meta-episode took: no more than the budget."""
    meta_steps: float
    """Finished per meta-episode, on average."""
    num_stopped: int
    """Meta-episodes that ended before their meta-steps were played."""
    num_meta_episodes: int
    why_stopped: Text = ""
    """The most common reason."""


class Standings(Record):
    """The results of an arena on one environment and k: methods in the order of their test scores, then the controls.

    If a script took part, nothing is ranked: methods are in the order in which they were given.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    place: Text
    """The environment and k."""
    budget: Budget
    """The learning budget of each meta-episode."""
    num_seeds: int
    families: Texts
    baseline: Text
    scripted: bool
    rows: tuple[Standing, ...]
    winner_by_split: float | None = None
    """The score of the best method, if it is chosen on all seeds but one and scored on that one: the first row's score
    is too high, because the best of several noisy scores is. None if nothing is ranked."""
    curves: tuple[EffortCurve, ...]
    notes: Texts = ()


def build_standings(reports: Sequence[EvaluationReport], place: str, *, baseline: str) -> Standings:
    """Return the standings that the reports of the arms make."""
    scripted = any(report.scripted for report in reports)
    base = next(report for report in reports if report.arm == baseline)
    others = [report for report in reports if report is not base]
    found = compare([base, *others], endpoint="last") if others else ()
    against = {item.second: item.difference and _negated(item.difference) for item in found}
    methods = [] if scripted else [report for report in reports if not is_control(report.kind)]
    ranks: dict[str, tuple[int, int]] = {}
    winner = None
    if len(methods) > 1:
        scores, resolution = scores_by_seed(methods, endpoint="last")
        by_arm = {report.arm: row for report, row in zip(methods, scores, strict=True)}
        ranks, winner = rank_intervals(by_arm, resolution=resolution), chosen_on_other_seeds(scores)
    rows = [
        Standing(
            arm=report.arm,
            is_control=is_control(report.kind),
            test=report.overall.test_last,
            gain=report.overall.last_gain,
            against_baseline=item,
            adjusted_p=None if scripted or item is None else item.adjusted_p,
            ranks=ranks.get(report.arm),
            misses_chance=report.misses_chance,
            **_average_effort(report.learned),
        )
        for report, item in ((report, against.get(report.arm)) for report in reports)
    ]
    rows = rows if scripted else sorted(rows, key=_rank)
    notes = [
        *([PLUMBING] if scripted else []),
        *([] if winner is None else [_winner_note(rows[0], len(methods), winner)]),
        *(note for report in reports for note in report.notes if note != SCRIPTED_NOTE),
    ]
    first = reports[0]
    return Standings(
        place=place,
        budget=first.config.learning_budget or Budget(),
        num_seeds=first.num_seeds,
        families=first.config.families,
        baseline=baseline,
        scripted=scripted,
        winner_by_split=winner,
        rows=tuple(rows),
        curves=curves_of(reports),
        notes=tuple(dict.fromkeys(notes)),
    )


def read_standings(folder: str | Path) -> Standings:
    """Return the standings that an arena wrote to this folder."""
    file = Path(folder) / STANDINGS_FILE
    try:
        return Standings.model_validate_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise RunFolderError(f"Expected the standings of an arena in {file}: {error}.") from error


def curves_of(reports: Sequence[EvaluationReport]) -> tuple[EffortCurve, ...]:
    """Return the curves of all arms on common axes. An axis along which learning took nothing is left out.

    Without validation tasks the result is empty.
    """
    found: list[EffortCurve] = []
    if not all(report.config.num_validation for report in reports):
        return ()
    for axis in AXES:
        end = max((max(_places(item, axis)) for report in reports for item in report.learned), default=0.0)
        if end > 0:
            grid = np.arange(end + 1) if axis == "meta-steps" else np.linspace(0.0, end, NUM_POINTS)
            x = tuple(grid.tolist())
            found += [EffortCurve(arm=item.arm, axis=axis, x=x, scores=_scores(item, axis, grid)) for item in reports]
    return tuple(found)


def _negated(estimate: Estimate) -> Estimate:
    low = None if estimate.high is None else 0.0 - estimate.high  # so that no zero is negative
    high = None if estimate.low is None else 0.0 - estimate.low
    return estimate.model_copy(update={"mean": 0.0 - estimate.mean, "low": low, "high": high})


def _rank(row: Standing) -> tuple[bool, float]:
    return row.is_control, float("inf") if row.test is None else -row.test.mean


def _winner_note(first: Standing, num_methods: int, by_split: float) -> str:
    score = "" if first.test is None else f" The first row has {first.test.mean:.3f};"
    return (
        f"The best of {num_methods} noisy scores is too high (the winner's curse).{score} the method that is best on "
        f"all seeds but one has {by_split:.3f} on that one."
    )


def _average_effort(learned: Sequence[Learned]) -> dict[str, object]:
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


def _scores(report: EvaluationReport, axis: Axis, grid: Array) -> tuple[Estimate | None, ...]:
    scores = {(item.family, item.seed): item.scores for item in report.prompt_scores}
    tables: dict[str, list[Array]] = {}
    for item in sorted(report.learned, key=lambda item: item.seed):
        tables.setdefault(item.family, []).append(_scores_along(item, scores.get(item.key, ()), axis, grid))
    averages = macro_average(list(tables.values()))
    scale = report.scale
    resolution = scale.of_one_in(report.config.num_validation * len(tables))
    return tuple(mean_interval(column, resolution=resolution, bounds=scale.of_scores) for column in averages.T)


def _scores_along(learned: Learned, scores: Sequence[float | None], axis: Axis, grid: Array) -> Array:
    places = _places(learned, axis)
    known = np.array(scores[: len(places)], dtype=np.float64)  # None becomes NaN
    # The first prompt is known from the start, even if an optimizer reports only the total that it took.
    index = np.maximum(np.searchsorted(np.array(places), grid, side="right") - 1, 0)
    return known[np.minimum(index, len(known) - 1)] if len(known) else np.full(len(grid), np.nan)


def _places(learned: Learned, axis: Axis) -> list[float]:
    if axis == "meta-steps":
        return [float(number) for number in range(len(learned.prompts))]
    return [float(getattr(outlay, axis)) for outlay in learned.outlays]  # when each measured prompt was known
