"""The standings of an arena, as data: the score of each method, and what it took. They need no environment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from metagym.budget import Budget, BudgetUse
from metagym.evaluation.arena.effort import EffortCurve, average_effort, curves_of
from metagym.evaluation.arms import is_control
from metagym.evaluation.comparison import compare
from metagym.evaluation.report import SCRIPTED_NOTE, EvaluationReport
from metagym.statistics import Estimate, adjusted_p
from metagym.types import SCHEMA_VERSION, Record

STANDINGS_FILE: Final = "arena.json"
PLUMBING: Final = (
    "SCRIPTED, plumbing only: a stand-in played or reflected, so that the numbers say nothing about the methods. They "
    "are in the order in which they were given. None is ranked."
)


class Standing(Record):
    """One method, or control, of an arena."""

    arm: str
    is_control: bool
    test: Estimate | None
    """Test score of the prompt that was handed over, over seeds; families weigh equally."""
    gain: Estimate | None
    """That minus the test score of `sp_0` on the same tasks, in the same arm."""
    against_baseline: Estimate | None
    """That minus the test score of the baseline's prompt, paired by seed; None for the baseline itself."""
    adjusted_p: float | None
    """Holm's p of that difference over all methods and controls; None if a scripted stand-in took part."""
    outlay: BudgetUse
    """What one meta-episode took to learn, on average (whole numbers are rounded up)."""
    most: BudgetUse
    """The most that any meta-episode took: no more than the budget."""
    meta_steps: float
    """Finished per meta-episode, on average."""
    num_stopped: int
    """Meta-episodes that ended before their meta-steps were played."""
    num_meta_episodes: int
    why_stopped: str = ""
    """The most common reason."""


class Standings(Record):
    """The results of an arena on one environment and k: methods in the order of their test scores, then the controls.

    If a scripted stand-in took part, nothing is ranked: methods are in the order in which they were given.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    place: str
    """The environment and k."""
    budget: Budget
    """The learning budget of each meta-episode."""
    num_seeds: int
    families: tuple[str, ...]
    baseline: str
    scripted: bool
    rows: tuple[Standing, ...]
    curves: tuple[EffortCurve, ...]
    notes: tuple[str, ...] = ()


def build_standings(reports: Sequence[EvaluationReport], place: str, *, baseline: str) -> Standings:
    """Return the standings that the reports of the arms make.

    Raises:
        ConfigError: the arms were not measured alike, or not on the same tasks.
    """
    scripted = any(report.scripted for report in reports)
    against = _against(reports, baseline)
    adjusted = {} if scripted else adjusted_p(against)
    rows = [
        Standing(
            arm=report.arm,
            is_control=is_control(report.kind),
            test=report.overall.test_last,
            gain=report.overall.last_gain,
            against_baseline=against.get(report.arm),
            adjusted_p=adjusted.get(report.arm),
            **average_effort(report.learned),
        )
        for report in reports
    ]
    first = reports[0]
    return Standings(
        place=place,
        budget=first.config.learning_budget or Budget(),
        num_seeds=first.num_seeds,
        families=first.config.families,
        baseline=baseline,
        scripted=scripted,
        rows=tuple(rows if scripted else sorted(rows, key=_rank)),
        curves=curves_of(reports),
        notes=tuple(dict.fromkeys([*([PLUMBING] if scripted else []), *(_notes(reports))])),
    )


def read_standings(folder: str | Path) -> Standings:
    """Return the standings that an arena wrote to this folder."""
    return Standings.model_validate_json((Path(folder) / STANDINGS_FILE).read_text(encoding="utf-8"))


def _against(reports: Sequence[EvaluationReport], baseline: str) -> dict[str, Estimate | None]:
    """Return the paired difference of each other arm to the baseline; positive if the arm scores higher."""
    base = next(report for report in reports if report.arm == baseline)
    others = [report for report in reports if report is not base]
    found = compare([base, *others], endpoint="last") if others else ()
    return {item.second: None if item.difference is None else _negated(item.difference) for item in found}


def _negated(estimate: Estimate) -> Estimate:
    low = None if estimate.high is None else 0.0 - estimate.high  # so that no zero is negative
    high = None if estimate.low is None else 0.0 - estimate.low
    return estimate.model_copy(update={"mean": 0.0 - estimate.mean, "low": low, "high": high})


def _rank(row: Standing) -> tuple[bool, float]:
    return row.is_control, float("inf") if row.test is None else -row.test.mean


def _notes(reports: Sequence[EvaluationReport]) -> list[str]:
    missing = {report.arm: report.num_missing for report in reports if report.num_missing}
    failed = [f"{arm}: {num} test scores are missing (infrastructure errors)" for arm, num in missing.items()]
    return [*(note for report in reports for note in report.notes if note != SCRIPTED_NOTE), *failed]
