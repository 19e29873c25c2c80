"""A report is built from measurements alone: no storage and no environment is behind it."""

from __future__ import annotations

import pytest

from metagym.evaluation import EvaluationConfig, EvaluationReport
from metagym.evaluation.report import build_report
from metagym.runs.measurements import Measurement, Role
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
    assert report.overall.gain is not None
    assert (report.overall.gain.mean, report.overall.gain.low) == (0.75, None)
    assert report.verdict == "no interval: a gain of +0.750 in 1 seed; run more seeds"
    assert [(item.chosen, item.chosen_prompt, item.last_prompt) for item in report.prompts] == [(1, "p", "p")]
