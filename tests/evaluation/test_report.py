"""A report is built from measurements alone: no storage and no environment is behind it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from metagym.budget import BudgetUse
from metagym.evaluation import EvaluationConfig, EvaluationReport
from metagym.evaluation.arena.standings import curves_of
from metagym.evaluation.comparison import compare
from metagym.evaluation.output.panels import curve_panel
from metagym.evaluation.report import build_report
from metagym.runs.measurements import Learned, Measurement, Role
from metagym.statistics import mean_interval
from metagym.types import Usage
from tests.conftest import SRC
from tests.test_layering import imports_of

RESULTS = ("gains", "report", "comparison", "controls", "arena/standings", "output/panels")
STORAGE = {"env", "runs", "runs.folder", "runs.store", "runs.journal", "evaluation.store", "evaluation.scoring"}


@pytest.mark.parametrize("name", RESULTS)
def test_results_are_computed_without_storage_or_environments(name: str) -> None:
    assert not imports_of(SRC / "evaluation" / f"{name}.py") & STORAGE


def test_a_report_of_nothing_says_so_and_survives_json() -> None:
    report = build_report(EvaluationConfig(), [], arm="mine", kind="null control")
    assert report.verdict == "nothing measured: no task has a test score under both prompts"
    assert (report.num_seeds, report.overall.gain, report.prompts) == (0, None, ())
    assert EvaluationReport.model_validate_json(report.model_dump_json()) == report


def test_missing_test_scores_are_counted_and_left_out_of_the_gain() -> None:
    def scored(role: Role, *scores: float | None) -> Measurement:
        return Measurement(
            family="f", seed=0, role=role, index=1, prompt="p", usage=Usage(), task_ids=("a", "b"), scores=scores,
            num_steps=2, num_invalid=1, scripted=False,
        )  # fmt: skip

    tests = [scored(Role.TEST_CHOSEN, 1.0, None), scored(Role.TEST_FIRST, 0.25, 1.0), scored(Role.TEST_LAST, 0.5, 0.5)]
    report = build_report(EvaluationConfig(num_steps=1), tests)
    assert report.num_missing == 1
    assert ": test scores missing because of infrastructure errors: 1 of 6." in report.notes
    assert report.overall.gain is not None
    assert (report.overall.gain.mean, report.overall.gain.low) == (0.75, None)
    assert report.verdict == "no interval: a gain of +0.750 in 1 seed; run more seeds"
    assert [(item.chosen, item.chosen_prompt, item.last_prompt) for item in report.prompts] == [(1, "p", "p")]


@pytest.mark.parametrize("role", [Role.VALIDATION, Role.REPLAY, Role.ONLINE, Role.KINDS_AFTER])
def test_missing_scores_of_each_purpose_are_counted_in_a_note(role: Role) -> None:
    def scored(role: Role, *scores: float | None) -> Measurement:
        return Measurement(
            family="f", seed=0, role=role, index=0, prompt="p", usage=Usage(), task_ids=("a", "b"), scores=scores,
            num_steps=2, num_invalid=1, scripted=False,
        )  # fmt: skip

    report = build_report(EvaluationConfig(num_steps=1), [scored(role, None, 1.0), scored(Role.TEST_FIRST, 0.0, 1.0)])
    assert report.num_missing == 0
    assert f": {role.value} scores missing because of infrastructure errors: 1 of 2." in report.notes


def test_each_mean_of_the_online_scores_has_the_resolution_of_its_episodes() -> None:
    measurements = [
        Measurement(
            family="f", seed=seed, role=Role.ONLINE, index=index, prompt="p", usage=Usage(), num_steps=1, num_invalid=0,
            task_ids=tuple("abcde"), scores=(1.0, 1.0, 0.0, 0.0, 0.5), scripted=False,
        )
        for seed, index in itertools.product(range(6), range(4))
    ]  # fmt: skip
    figures = build_report(EvaluationConfig(num_steps=4, num_seeds=6), measurements).overall
    widths = [item.high - item.low for item in figures.online_cumulative]  # type: ignore[union-attr, operator]
    assert widths == pytest.approx([widths[0] / (index + 1) for index in range(4)])
    assert {item.low for item in figures.online} == {figures.online_cumulative[0].low}  # type: ignore[union-attr]


def report_of_returns(arm: str = "a", shift: float = 0.0) -> EvaluationReport:
    """Make a report of two families whose scores are returns, far outside of the declared range from 0 to 1."""
    rng = np.random.default_rng(len(arm))
    roles = [(Role.ONLINE, 0), (Role.REPLAY, 0), (Role.VALIDATION, 0), (Role.VALIDATION, 1)]
    roles += [(Role.TEST_FIRST, 0), (Role.TEST_CHOSEN, 1), (Role.TEST_LAST, 1)]
    measurements, learned = [], []
    for family, seed in itertools.product("fg", range(6)):
        level = rng.normal(shift, 20)
        measurements += [
            Measurement(
                family=family, seed=seed, role=role, index=index, prompt=f"{index}", usage=Usage(),
                task_ids=tuple(f"{family}{task}" for task in range(4)),
                scores=tuple(rng.normal(level, 25, 4).tolist()), num_steps=1, num_invalid=0, scripted=False,
            )
            for role, index in roles
        ]  # fmt: skip
        outlays = (BudgetUse(), BudgetUse(episodes=4))
        learned.append(
            Learned(
                family=family, seed=seed, prompts=("0", "1"), outlays=outlays, total=outlays[1], usage={},
                num_meta_steps=1,
            )
        )  # fmt: skip
    config = EvaluationConfig(families=("f", "g"), num_steps=1, episodes_per_step=4, num_validation=4, num_test=4)
    return build_report(config, measurements, arm=arm, learned=learned)


def test_intervals_of_returns_that_hold_together_are_not_cut_at_the_declared_range() -> None:
    report = report_of_returns()
    for family, found in report.over_families("gain").items():
        alone = report.families[family].gain
        assert alone is not None
        assert found is not None
        assert found.low < alone.low < alone.high < found.high


def test_rates_have_the_scale_of_rates_whatever_the_scores_are() -> None:
    report = report_of_returns()
    alike = {**dict(report.config), "score_range": (-1000.0, 1000.0)}
    wide = build_report(EvaluationConfig(**alike), report.tests)
    narrow = build_report(report.config, [item.model_copy(update={"scores": (0.5,) * 4}) for item in report.tests])
    assert wide.overall.invalid_action_rate == narrow.overall.invalid_action_rate
    assert wide.overall.invalid_action_rate is not None
    assert wide.overall.invalid_action_rate.high < 1.0


def test_the_difference_of_gaps_of_returns_is_not_cut_at_the_declared_range() -> None:
    first, second = report_of_returns("a"), report_of_returns("bb", shift=30.0)
    gap = compare([first, second])[0].gap
    alone = mean_interval([first.gaps[seed] - second.gaps[seed] for seed in first.gaps])
    assert gap is not None
    assert alone is not None
    assert gap.low <= alone.low < alone.high <= gap.high


def test_an_arenas_curve_has_the_intervals_of_the_report() -> None:
    report = report_of_returns()
    curve = next(item for item in curves_of([report]) if item.axis == "meta-steps")
    assert curve.scores == report.overall.validation


def test_the_axis_of_a_figure_holds_the_scores_of_all_arms() -> None:
    reports = [report_of_returns(), report_of_returns("bb", shift=30.0)]
    low, high = curve_panel(reports, ["a", "bb"], None).score_range
    scores = [score for report in reports for item in report.tests for score in item.scores if score is not None]
    assert low <= min(scores) < max(scores) <= high


def test_a_report_without_score_bounds_is_read_and_has_those_of_its_test_scores() -> None:
    report = report_of_returns()
    old = EvaluationReport.model_validate(report.model_dump(exclude={"score_bounds"}))
    scores = [score for item in report.tests for score in item.scores if score is not None]
    assert old.scale.of_scores == (min(scores), max(scores))
