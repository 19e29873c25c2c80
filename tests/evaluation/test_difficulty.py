"""The difficulty check: contents, roles and meta-steps under one constant prompt."""

from __future__ import annotations

import numpy as np
import pytest

import metagym
from metagym.envs.gates.env import GatesEnv
from metagym.evaluation.config import EvaluationConfig
from metagym.evaluation.difficulty import contents_of, family_difficulty
from metagym.evaluation.protocol import evaluate
from metagym.evaluation.scale import ScoreScale
from metagym.evaluation.task_check import check_tasks
from metagym.reflectors import FixedReflector
from metagym.tasks import SeededTaskSet, TaskSet
from tests.conftest import MakeGates, make_task


def test_contents_are_counted_with_the_commonest() -> None:
    found = contents_of([make_task(f"t{n}", digest=digest) for n, digest in enumerate("aaab")])
    assert (found.num_tasks, found.num_contents, found.commonest, found.num_repeats) == (4, 2, 0.75, 2)


def test_equal_roles_and_a_flat_course_seldom_give_a_warning() -> None:
    rng = np.random.default_rng(0)
    warned = 0
    for _ in range(200):
        scores = {role: rng.random(20) < 0.4 for role in ("train", "validation", "test")}
        course = (rng.random((10, 10, 3)) < 0.4).mean(axis=2)
        warned += bool(
            family_difficulty("f", contents={}, scores=scores, by_meta_step=course, resolution=1 / 3).warnings
        )
    assert warned / 200 <= 0.1  # two tests at 5 %


def test_a_role_that_is_easier_is_named() -> None:
    rng = np.random.default_rng(1)
    scores = {"validation": rng.random(60) < 0.8, "test": rng.random(60) < 0.4}
    (warning,) = family_difficulty("dark", contents={}, scores=scores).warnings
    assert warning.startswith("dark: the roles differ under one prompt, validation - test +0.")


def test_a_course_that_rises_under_one_prompt_is_named() -> None:
    """The scores that a fixed actor had in dark rooms when seen contents were passed over."""
    rng = np.random.default_rng(2)
    rates = [0.58, 0.54, 0.50, 0.68, 0.70, 0.92, 0.94, 0.96, 1.0, 1.0]
    course = (rng.random((10, 10, 5)) < np.array(rates)[:, None]).mean(axis=2)
    found = family_difficulty("dark", contents={}, scores={}, by_meta_step=course, resolution=1 / 5)
    assert found.trend is not None
    assert found.trend.mean == pytest.approx(0.6, abs=0.15)
    assert "changes by +0." in found.warnings[0]


def test_an_evaluation_reports_contents_and_roles_and_without_reflection_the_trend(make_gates: MakeGates) -> None:
    config = EvaluationConfig(families=("law-0007",), num_steps=3, num_seeds=3, num_validation=6, num_test=6)
    (found,) = evaluate(make_gates(), FixedReflector(), config=config).difficulty
    assert {role: item.num_tasks for role, item in found.contents.items()} == {
        "train": 15,
        "validation": 6,
        "test": 6,
    }
    assert set(found.scores) == {"train", "validation", "test"}
    assert found.trend is not None
    learner = evaluate(make_gates(), lambda history: history[-1].prompt + "!", config=config)
    assert learner.difficulty[0].trend is None  # its prompts change


def test_the_roles_of_two_families_are_not_compared(make_gates: MakeGates) -> None:
    config = EvaluationConfig(families=("law-0007",), num_steps=2, num_seeds=2, num_validation=3, num_test=3)
    own, other = (
        evaluate(make_gates(), FixedReflector(), config=config, learn_from=learn_from).difficulty[0]
        for learn_from in ({}, {"law-0007": "law-0500"})
    )
    assert set(own.scores) == {"train", "validation", "test"}
    assert set(other.scores) == {"validation", "test"}
    assert set(other.role_differences) == {"validation - test"}


class FewLevels(metagym.MetaEnv):
    """Roads of which nine in ten are the same."""

    default_prompt = "Walk."

    def make_inner_env(self) -> GatesEnv:
        return GatesEnv()

    def make_task_set(self) -> TaskSet:
        return SeededTaskSet(["law-0007"], lambda family, seed: "same" if seed % 10 else str(seed))


def test_the_check_warns_of_few_contents() -> None:
    with FewLevels("random", episodes_per_step=2) as env:
        found = check_tasks(env, num_tasks=20, num_seeds=2, num_steps=3)
    assert any("content" in warning and "the commonest in" in warning for warning in found.warnings)
    (family,) = found.families
    assert len(family.by_meta_step) == 3
    assert found.actor == "RandomActor"


def test_intervals_end_at_the_bounds_of_the_scores_or_at_the_scores_seen_outside() -> None:
    few = family_difficulty("f", contents={}, scores={"test": [0.0, 1.0], "train": [0.0, 0.0]})
    assert (few.scores["test"].low, few.scores["test"].high) == (0.0, 1.0)
    returns = family_difficulty("f", contents={}, scores={"test": [-3.0, 4.0]})
    assert (returns.scores["test"].low, returns.scores["test"].high) == (-3.0, 4.0)
    wide = family_difficulty("f", contents={}, scores={"test": [0.0, 1.0]}, scale=ScoreScale(-9.0, 9.0))
    assert (wide.scores["test"].low, wide.scores["test"].high) == (-9.0, 9.0)


def test_intervals_of_differences_stay_within_those_of_scores_from_0_to_1() -> None:
    scores = {"validation": [0, 1], "test": [1, 0]}
    found = family_difficulty("f", contents={}, scores=scores, by_meta_step=[[0, 1], [1, 0]])
    difference = found.role_differences["validation - test"]
    assert (difference.low, difference.high) == (-1.0, 1.0)
    assert found.trend is not None
    assert (found.trend.low, found.trend.high) == (-1.0, 1.0)
