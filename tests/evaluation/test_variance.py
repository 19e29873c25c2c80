"""The parts of the variance are found, repetitions are played, and the best purchase follows from the parts."""

from __future__ import annotations

import numpy as np
import pytest

from metagym.envs.gates.demo import GatesDemoActor, GatesDemoReflector
from metagym.errors import ConfigError
from metagym.evaluation import EvaluationConfig, EvaluationReport, compare, evaluate
from metagym.evaluation.report import build_report
from metagym.evaluation.variance import noise_in_words, noise_sources, variance_parts, what_it_buys
from metagym.runs.measurements import Measurement, Role
from metagym.types import Usage
from tests.conftest import MakeGates


def report_with(
    seeds: float, tasks: float, both: float, sampling: float, *, times: int, num: int = 60
) -> EvaluationReport:
    """Return a report whose gains vary by these standard deviations."""
    rng = np.random.default_rng(0)
    gains = rng.normal(0, seeds, (num, 1, 1)) + rng.normal(0, tasks, (1, 1, num)) + rng.normal(0, both, (num, 1, num))
    gains = gains + rng.normal(0, sampling, (num, times, num))
    ids = tuple(f"t{task}" for _ in range(times) for task in range(num))
    items = []
    for seed in range(num):
        for role, scores in ((Role.TEST_CHOSEN, gains[seed].ravel()), (Role.TEST_FIRST, np.zeros(times * num))):
            items.append(
                Measurement(
                    family="f",
                    seed=seed,
                    role=role,
                    index=1,
                    prompt="p",
                    task_ids=ids,
                    scores=tuple(scores.tolist()),
                    num_steps=1,
                    num_invalid=0,
                    usage=Usage(),
                    scripted=False,
                )
            )
    config = EvaluationConfig(num_steps=1, num_seeds=num, num_test=num, test_repetitions=times)
    return build_report(config, items, arm="a")


def test_each_part_of_the_variance_is_found() -> None:
    parts = variance_parts(report_with(0.3, 0.5, 0.4, 0.6, times=3))
    assert parts.seeds == pytest.approx(0.09, rel=0.4)
    assert parts.tasks == pytest.approx(0.25, rel=0.4)
    assert parts.seeds_and_tasks == pytest.approx(0.16, rel=0.1)
    assert parts.sampling == pytest.approx(0.36, rel=0.1)


def test_without_repetitions_sampling_is_not_told_apart() -> None:
    parts = variance_parts(report_with(0.3, 0.5, 0.4, 0.6, times=1))
    assert parts.sampling is None
    assert parts.seeds_and_tasks == pytest.approx(0.16 + 0.36, rel=0.1)


def test_the_predicted_interval_of_the_evaluation_as_it_is_is_the_one_that_it_has() -> None:
    report = report_with(0.3, 0.5, 0.4, 0.6, times=2)
    gain, now = report.overall.gain, what_it_buys(report)[0]
    assert gain is not None
    assert gain.low is not None
    assert now.these_tasks == pytest.approx(gain.mean - gain.low, rel=0.02)


@pytest.mark.parametrize(
    ("parts", "best_here", "best_elsewhere"),
    [
        ((0.5, 0.0, 0.0, 0.1), "more seeds", "more seeds"),
        ((0.0, 0.9, 0.0, 0.1), "more test tasks", "more test tasks"),
    ],
)
def test_the_best_purchase_adds_what_varies_most(
    parts: tuple[float, float, float, float], best_here: str, best_elsewhere: str
) -> None:
    bought = what_it_buys(report_with(*parts, times=2, num=20))[1:]
    assert [item.what for item in bought] == ["more seeds", "more test tasks", "more repetitions"]
    if parts[0]:
        assert min(bought, key=lambda item: item.these_tasks or 0.0).what == best_here
    assert min(bought, key=lambda item: item.new_tasks or 0.0).what == best_elsewhere
    costs = [item.num_episodes for item in bought]
    assert max(costs) - min(costs) < 0.02 * max(costs)


@pytest.mark.parametrize("is_missing", [False, True])
def test_a_seed_that_failed_is_left_out(is_missing: bool) -> None:
    report = report_with(0.3, 0.5, 0.4, 0.6, times=2, num=8)
    others = [item for item in report.tests if (item.seed, item.role) != (3, Role.TEST_CHOSEN)]
    (failed,) = (item.model_copy(update={"scores": (None,) * 16}) for item in report.tests if item not in others)
    found = build_report(report.config, others if is_missing else [*others, failed])
    gone = build_report(report.config, [item for item in report.tests if item.seed != 3])
    assert variance_parts(found) == variance_parts(gone)
    assert variance_parts(found).seeds > 0
    now = what_it_buys(found)[0]
    gain = found.overall.gain
    assert gain is not None
    assert gain.low is not None
    assert (now.num_seeds, now.these_tasks) == (7, pytest.approx(gain.mean - gain.low, rel=0.05))


def test_an_evaluation_of_which_nothing_was_tested_has_no_noise() -> None:
    report = build_report(EvaluationConfig(families=("f",)), [])
    assert not noise_in_words(report)
    with pytest.raises(ConfigError, match=r"at least two seeds and two test tasks\. Finish the evaluation first"):
        variance_parts(report)


def test_repetitions_are_played_on_every_test_task_and_the_first_ones_stay(make_gates: MakeGates) -> None:
    small = EvaluationConfig(
        families=("law-0007",), num_steps=1, episodes_per_step=2, num_seeds=2, num_validation=2, num_test=5
    )
    once = evaluate(make_gates(GatesDemoActor(slip=0.3)), GatesDemoReflector(), config=small)
    config = small.model_copy(update={"test_repetitions": 2})
    twice = evaluate(make_gates(GatesDemoActor(slip=0.3)), GatesDemoReflector(), config=config)
    for one, two in zip(once.tests, twice.tests, strict=True):
        assert two.task_ids == one.task_ids * 2
        assert two.scores[:5] == one.scores
    assert twice.tests != once.tests
    assert variance_parts(twice).sampling is not None
    assert twice.overall.test_chosen is not None
    assert once.overall.test_chosen is not None
    (compared,) = compare([twice, once], force=True)
    assert compared.num_pairs == 10
    assert compared.difference is not None
    assert compared.difference.mean == pytest.approx(twice.overall.test_chosen.mean - once.overall.test_chosen.mean)
    assert "test_repetitions" not in once.measurement["evaluation"]  # as in evaluations of before


def test_the_shares_of_the_sources_are_those_of_the_interval_on_new_tasks() -> None:
    report = report_with(0.3, 0.5, 0.4, 0.6, times=2)
    shares = {item.what: item.share or 0.0 for item in noise_sources(report)}
    assert sum(shares.values()) == pytest.approx(1)
    now = what_it_buys(report)[0]
    assert now.these_tasks is not None
    assert now.new_tasks is not None
    assert 1 - shares["tasks"] == pytest.approx((now.these_tasks / now.new_tasks) ** 2, abs=0.001)
    assert f"{100 * shares['tasks']:.0f} % tasks" in noise_in_words(report)


def test_gains_that_are_all_equal_promise_no_interval_of_width_zero() -> None:
    report = report_with(0, 0, 0, 0, times=1, num=3)
    gain, (now, *_) = report.overall.gain, what_it_buys(report)
    assert gain is not None
    assert gain.high is not None
    assert now.these_tasks == pytest.approx(gain.high - gain.mean)
    assert "nothing is known" in noise_in_words(report)


def test_one_seed_has_no_parts() -> None:
    assert noise_in_words(report_with(0.1, 0.1, 0.1, 0.1, times=1, num=1)) == ""
    with pytest.raises(ConfigError, match=r"at least two seeds and two test tasks"):
        variance_parts(report_with(0.1, 0.1, 0.1, 0.1, times=1, num=1))


def test_a_comparison_takes_the_mean_over_the_repetitions_of_a_task() -> None:
    varied, still = (report_with(0.1, 0.1, 0.1, sampling, times=3, num=5) for sampling in (0.5, 0.0))
    assert varied.overall.test_chosen is not None
    assert still.overall.test_chosen is not None
    (found,) = compare([varied, still])
    assert found.difference is not None
    assert found.difference.mean == pytest.approx(varied.overall.test_chosen.mean - still.overall.test_chosen.mean)
