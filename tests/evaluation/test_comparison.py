"""Paired comparison: pairs, dropped pairs, refused comparisons, and the words of the verdict."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from metagym.errors import ConfigError
from metagym.evaluation.comparison import Comparison, compare, differences
from metagym.evaluation.config import EvaluationConfig
from metagym.evaluation.report import EvaluationReport, build_report, word
from metagym.runs import Measurement, Role
from metagym.statistics import Estimate, detectable_effect, mean_interval
from metagym.types import Usage

CONFIG = EvaluationConfig(num_steps=1, num_seeds=6, num_test=4)


def report_of(tables: dict[str, Any], *, arm: str = "a", **about: Any) -> EvaluationReport:
    """Make a report whose chosen prompt scored `tables[family][seed][task]`, and whose sp_0 scored 0."""
    measurements = []
    for family, table in tables.items():
        for seed, row in enumerate(table):
            for role in (Role.TEST_CHOSEN, Role.TEST_FIRST, Role.TEST_LAST):
                scores = [0.0] * len(row) if role is Role.TEST_FIRST else list(row)
                measurements.append(
                    Measurement(
                        family=family, seed=seed, role=role, index=1, prompt="p", usage=Usage(),
                        task_ids=tuple(f"{family}/{task}" for task in range(len(row))),
                        scores=tuple(None if math.isnan(score) else score for score in scores),
                        num_steps=1, num_invalid=0, scripted=False,
                    )
                )  # fmt: skip
    return build_report(CONFIG, measurements, arm=arm, **about)


def compared(first: dict[str, Any], second: dict[str, Any], **options: Any) -> Comparison:
    return compare([report_of(first), report_of(second, arm="b")], **options)[0]


def random_tables(seed: int, shift: float = 0.0, num_seeds: int = 8) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {"f": rng.random((num_seeds, 4)) + shift, "g": rng.random((num_seeds, 9)) + shift}


def test_the_replicate_is_the_seed_and_families_weigh_equally() -> None:
    ours, theirs = random_tables(0, 0.3), random_tables(1)
    found = compared(ours, theirs)
    per_seed = np.mean([(ours[name] - theirs[name]).mean(axis=1) for name in ours], axis=0)
    expected = mean_interval(
        per_seed, resolution=1.3 / 2 / 4
    )  # one of the four tasks of f, over the range of the scores
    assert found.difference is not None
    assert expected is not None
    assert found.difference.mean == pytest.approx(expected.mean)
    assert found.difference.p_value == pytest.approx(expected.p_value, rel=0.05)
    assert found.difference.num == 8
    assert found.verdict == "a is better than b"


def test_exchanged_arms_give_the_exchanged_verdict() -> None:
    assert compared(random_tables(1), random_tables(0, 0.3)).verdict == "a is worse than b"


def test_a_pair_that_one_arm_misses_is_dropped_from_all_arms() -> None:
    tables = [random_tables(number) for number in range(3)]
    tables[2]["f"][0, 0] = math.nan
    reports = [report_of(table, arm=arm) for table, arm in zip(tables, "abc", strict=True)]
    first, second = compare(reports)
    assert (first.num_dropped, second.num_dropped) == (1, 1)
    assert first.num_pairs == 8 * 13 - 1
    tables[0]["f"][0, 0] = tables[1]["f"][0, 0] = math.nan
    alone = compared(tables[0], tables[1]).difference
    assert alone is not None
    assert first.difference is not None
    assert (alone.mean, alone.std, alone.p_value) == (
        first.difference.mean,
        first.difference.std,
        first.difference.p_value,
    )


def test_the_worst_case_fills_missing_scores_of_the_two_arms_with_opposite_ends() -> None:
    found = compared({"f": [[math.nan, 1.0], [1.0, math.nan]]}, {"f": [[math.nan, 0.0], [0.0, 0.0]]})
    assert found.num_dropped == 2
    # Against `first` the missing differences are 0 - 1 and 0 - 0; for it they are 1 - 0 and 1 - 0.
    assert found.worst_case == ((-1.0 + 1.0 + 1.0 + 0.0) / 4, 1.0)


@pytest.mark.parametrize(
    ("missing", "num"), [((slice(None), 3), 3), ((0, slice(None)), 4)], ids=["a task in every seed", "a whole seed"]
)
def test_tasks_and_seeds_that_an_arm_misses_wholly_are_dropped_pairs(missing: Any, num: int) -> None:
    theirs = np.ones((3, 4))
    theirs[missing] = math.nan
    found = compared({"f": np.ones((3, 4))}, {"f": theirs})
    assert (found.num_pairs, found.num_dropped) == (12 - num, num)
    assert found.worst_case == (0.0, pytest.approx(num / 12))


def test_a_family_that_an_arm_misses_wholly_keeps_its_weight_and_is_named() -> None:
    theirs = random_tables(1)
    theirs["g"][:] = math.nan
    found = compared(random_tables(0, 0.3), theirs)
    assert (found.difference, found.new_tasks, found.num_dropped) == (None, None, 8 * 9)
    assert found.verdict == "no interval: no seed has scores of both arms in all families"
    assert any("No task of g has a score in all arms" in note for note in found.notes)
    assert found.families["f"].difference is not None


def test_the_worst_case_fills_repetitions_that_are_missing() -> None:
    ours, theirs = report_of({"f": [[1.0, 1.0], [1.0, 1.0]]}), report_of({"f": [[0.0, 0.0], [0.0, 0.0]]}, arm="b")
    tests = [
        item.model_copy(update={"task_ids": item.task_ids * 2, "scores": (*item.scores, None, 1.0)})
        for item in ours.tests
    ]
    (found,) = compare([ours.model_copy(update={"tests": tuple(tests)}), theirs])
    assert found.num_dropped == 0
    assert found.worst_case == (0.75, 1.0)  # one of two tasks has one of two repetitions


def test_the_worst_case_fills_missing_scores_from_both_ends() -> None:
    ours, theirs = {"f": [[1.0, math.nan], [1.0, 1.0]]}, {"f": [[0.0, 0.0], [0.0, 0.0]]}
    found = compared(ours, theirs)
    assert found.difference is not None
    assert found.difference.mean == 1.0
    assert found.worst_case == (0.75, 1.0)


def test_the_seed_of_a_comparison_draws_its_bootstrap_and_nothing_else() -> None:
    first, again, other = (compared(random_tables(0), random_tables(1), seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.new_tasks is not None
    assert other.new_tasks is not None
    assert first.new_tasks.mean == other.new_tasks.mean
    assert (first.new_tasks.low, first.new_tasks.high) != (other.new_tasks.low, other.new_tasks.high)
    assert first.model_copy(update={"new_tasks": None}) == other.model_copy(update={"new_tasks": None})


def test_a_seed_that_misses_a_whole_family_is_no_replicate() -> None:
    ours = random_tables(0)
    ours["f"][3] = math.nan
    found = compared(ours, random_tables(1))
    assert found.difference is not None
    assert found.difference.num == 7


def test_the_sign_flip_speaks_from_six_seeds_on_and_below_the_report_says_why_not() -> None:
    few = compared(random_tables(0, num_seeds=5), random_tables(1, num_seeds=5))
    assert few.sign_flip_p is None
    assert "With 5 seeds no exact sign-flip test can give p < 0.05." in few.notes
    many = compared(random_tables(0, 1.0, num_seeds=6), random_tables(1, num_seeds=6))
    assert many.sign_flip_p == 2 / 2**6
    assert not many.notes


def test_equality_needs_a_margin() -> None:
    rng = np.random.default_rng(0)
    ours = {"f": rng.random((10, 200))}
    theirs = {"f": ours["f"] + rng.normal(0, 0.02, (10, 200))}
    without, within = compared(ours, theirs), compared(ours, theirs, margin=0.1)
    assert without.verdict.startswith("no difference shown between a and b; a true difference of")
    assert within.verdict == "no difference of 0.1 or more between a and b"
    assert (without.equivalence_p, within.margin) == (None, 0.1)
    assert compared(random_tables(0, num_seeds=3), random_tables(1, num_seeds=3), margin=0.001).verdict.startswith(
        "no difference shown"
    )


@pytest.mark.parametrize(
    ("num_others", "std", "is_said"), [(1, 0.03, True), (1, 0.046, False), (4, 0.02, True), (4, 0.036, False)]
)
def test_no_difference_is_said_only_beside_an_interval_within_the_margin(
    num_others: int, std: float, is_said: bool
) -> None:
    pattern = np.linspace(-1, 1, 10)[:, None] + np.zeros(100)
    ours = report_of({"f": 0.52 + std * pattern / pattern[:, 0].std(ddof=1)})
    others = [report_of({"f": 0.5 + 0 * pattern}, arm=f"b{number}") for number in range(num_others)]
    for found in compare([ours, *others], margin=0.05):
        assert found.difference is not None
        assert found.difference.high is not None
        assert found.equivalence_p is not None
        assert found.equivalence_p < 0.05
        assert found.verdict.startswith("no difference of 0.05 or more") is is_said
        assert (found.difference.high < 0.05) is is_said


@pytest.mark.parametrize(
    ("mean", "p_value", "adjusted_p", "is_equal", "expected"),
    [
        (0.2, 0.01, None, False, "better"),
        (-0.2, 0.01, 0.04, False, "worse"),
        (0.2, 0.01, 0.06, False, "not shown"),
        (0.0, 0.5, None, True, "no difference"),
        (0.01, 0.02, 0.03, True, "better"),
        (0.2, 0.05, 0.05, False, "not shown"),
    ],
)
def test_the_words_follow_the_table(
    mean: float, p_value: float, adjusted_p: float | None, is_equal: bool, expected: str
) -> None:
    found = Estimate(mean=mean, low=mean - 0.1, high=mean + 0.1, p_value=p_value, adjusted_p=adjusted_p, num=9)
    assert word(found, is_equal=is_equal) == expected
    assert word(found.model_copy(update={"low": None, "high": None}), is_equal=is_equal) == "no interval"


@pytest.mark.slow
def test_six_equal_arms_are_seldom_called_different() -> None:
    rng = np.random.default_rng(0)
    shown = unadjusted = 0
    for _ in range(60):
        arms = [report_of({"f": rng.random((6, 5)).round()}, arm=str(arm)) for arm in range(6)]
        found = compare(arms)
        shown += any("is better" in item.verdict or "is worse" in item.verdict for item in found)
        unadjusted += any(item.difference and (item.difference.p_value or 1) < 0.05 for item in found)
    assert shown <= 5  # 3 of 60 are 5 %; 5 or fewer come in 93 % of such runs
    assert unadjusted > shown


def test_all_zero_scores_of_two_seeds_show_no_equality() -> None:
    found = compared({"f": np.zeros((2, 20))}, {"f": np.zeros((2, 20))}, margin=0.01)
    assert found.verdict.startswith("no difference shown between a and b; a true difference of")
    assert found.difference is not None
    assert found.difference.low is not None
    assert found.difference.low < -0.3
    assert found.new_tasks is not None
    assert found.new_tasks.low is None


@pytest.mark.parametrize(("num_others", "is_said"), [(1, True), (4, False)])
def test_equality_of_several_arms_is_adjusted_for_their_number(num_others: int, is_said: bool) -> None:
    reports = [report_of({"f": np.zeros((5, 20))}, arm=f"a{number}") for number in range(num_others + 1)]
    for found in compare(reports, margin=0.1):
        assert found.difference is not None
        assert found.difference.high is not None
        assert found.difference.high < 0.1
        assert found.verdict.startswith("no difference of 0.1 or more") is is_said


def test_holm_is_applied_over_families() -> None:
    found = compared(random_tables(0, 0.3), random_tables(1))
    for family in found.families.values():
        assert family.difference is not None
        assert family.adjusted_p is not None
        assert family.difference.p_value is not None
        assert family.adjusted_p >= family.difference.p_value


def test_measurements_that_differ_are_refused_and_named_unless_forced() -> None:
    one = report_of(random_tables(0), measurement={"actor": {"model": "a"}, "max_steps": 25})
    two = report_of(random_tables(1), arm="b", measurement={"actor": {"model": "b"}, "max_steps": 25})
    assert differences(one, two) == ("actor.model ('a' and 'b')",)
    with pytest.raises(ConfigError, match=r"'a' and 'b' to be measured alike, but they differ in actor.model"):
        compare([one, two])
    (forced,) = compare([one, two], force=True)
    assert forced.forced == ("actor.model ('a' and 'b')",)
    assert any(note.startswith("FORCED: the measurements differ in actor.model") for note in forced.notes)


def test_evaluations_without_a_common_pair_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"Expected at least two evaluations to compare, got 1"):
        compare([report_of(random_tables(0))])
    with pytest.raises(ConfigError, match=r"share families, seeds and tasks, got no common one"):
        compare([report_of({"f": [[1.0]]}), report_of({"g": [[1.0]]})])


def test_a_note_says_that_two_arms_of_one_name_share_their_randomness() -> None:
    (found,) = compare([report_of(random_tables(0)), report_of(random_tables(1))])
    assert any("Both arms are named 'a', so that they share their randomness" in note for note in found.notes)


def test_one_seed_gives_no_interval() -> None:
    found = compared(random_tables(0, num_seeds=1), random_tables(1, num_seeds=1))
    assert found.verdict.startswith("no interval")
    assert found.detectable is None


def test_a_comparison_goes_to_json_and_back() -> None:
    found = compared(random_tables(0, 0.3), random_tables(1))
    assert Comparison.model_validate_json(found.model_dump_json()) == found


def test_the_detectable_effect_of_several_arms_is_that_of_the_corrected_test() -> None:
    reports = [report_of(random_tables(seed), arm=f"arm {seed}") for seed in range(4)]
    (alone,), (one, *_) = compare(reports[:2]), compare(reports)
    assert alone.difference is not None
    assert alone.difference.std is not None
    effects = {num: detectable_effect(alone.difference.std, 8, alpha=0.05 / num) for num in (1, 3)}
    assert (alone.detectable, one.detectable) == (pytest.approx(effects[1]), pytest.approx(effects[3]))
    assert one.verdict.endswith(f"a true difference of {effects[3]:.3f} would be found with 80 % power")


def test_the_address_of_a_server_is_no_part_of_a_measurement() -> None:
    tables = {"f": [[1.0] * 4] * 6}

    def measured_at(url: str, model: str = "m") -> EvaluationReport:
        return report_of(tables, measurement={"actor": {"model": {"model": model, "base_url": url}}})

    first = measured_at("http://one/v1")
    assert differences(first, measured_at("http://two/v1")) == ()
    assert differences(first, measured_at("http://one/v1", "n")) == ("actor.model.model ('m' and 'n')",)
