"""Transfer matrices: a prompt gains in the place in which it was learned."""

from __future__ import annotations

import itertools

import pytest

import metagym
from metagym.envs.gates.demo import GatesDemoActor
from metagym.errors import ConfigError, TasksExhaustedError
from metagym.evaluation import EvaluationConfig, evaluate
from metagym.evaluation.transfer import transfer_matrix, transfer_to
from tests.conftest import MakeGates
from tests.evaluation import planted

FAMILIES = ("law-0007", "law-0900")


def test_a_prompt_learned_in_one_law_helps_there_and_not_in_another(make_gates: MakeGates) -> None:
    config = EvaluationConfig(families=FAMILIES, num_steps=1, num_seeds=3, num_validation=4, num_test=4)
    env = make_gates()
    report = evaluate(env, planted.Oracle(), config=config)
    other = make_gates(GatesDemoActor(slip=0.1), families=FAMILIES)
    matrix = transfer_matrix({"demo": report}, {"demo": env, "slippery": other}, families=FAMILIES, num_test=10)
    assert matrix.sources == ("demo: law-0007", "demo: law-0900")
    assert matrix.targets == ("demo: law-0007", "demo: law-0900", "slippery: law-0007", "slippery: law-0900")
    means = [[item.mean for item in row if item is not None] for row in matrix.gains]
    assert min(means[0][0], means[1][1], means[0][2], means[1][3]) > 0.8
    assert max(means[0][1], means[1][0], means[0][3], means[1][2]) < 0.2
    assert matrix.scripted


def test_evaluations_without_a_prompt_yet_are_refused(make_gates: MakeGates) -> None:
    config = EvaluationConfig(families=FAMILIES, num_steps=1, num_seeds=1, num_validation=0, num_test=2)
    report = evaluate(make_gates(), "fixed", config=config).model_copy(update={"prompts": ()})
    with pytest.raises(ConfigError, match="Expected a finished meta-episode in one of the evaluations"):
        transfer_to([report], make_gates(families=FAMILIES), num_test=2)


def test_an_empty_matrix_is_refused() -> None:
    with pytest.raises(ConfigError, match="Expected an evaluation and an environment at least, got 0 and 0"):
        transfer_matrix({}, {})


def test_what_helps_in_another_world_is_more_than_what_its_controls_gain(make_gates: MakeGates) -> None:
    config = EvaluationConfig(families=FAMILIES[:1], num_steps=1, num_seeds=4, num_validation=4, num_test=4)
    arms = {"oracle": "method", "again": "same again", "none": "null control"}
    reports = [
        evaluate(
            make_gates(), planted.Oracle() if arm != "none" else planted.Identity(), config=config, arm=arm, kind=kind
        )
        for arm, kind in arms.items()
    ]
    there = transfer_to(reports, make_gates(families=FAMILIES[:1]), num_test=10)
    assert there.verdict.startswith("what oracle learned helps in the other world, by +")
    assert list(there.differences) == ["again", "none"]
    assert there.differences["again"].mean == 0.0
    assert there.differences["none"].mean == there.gains["oracle"].mean - there.gains["none"].mean
    elsewhere = transfer_to(reports, make_gates(families=FAMILIES[1:]), num_test=10)
    assert "it is not shown that what oracle learned carries over" in elsewhere.verdict


def test_a_gain_that_a_null_control_has_too_is_not_called_learned(make_gates: MakeGates) -> None:
    config = EvaluationConfig(families=FAMILIES[:1], num_steps=1, num_seeds=4, num_validation=4, num_test=4)
    report = evaluate(make_gates(), planted.Oracle(), config=config, arm="oracle")
    null = report.model_copy(update={"arm": "scrambled", "kind": "null control"})
    there = transfer_to([report, null], make_gates(families=FAMILIES[:1]), num_test=10)
    assert there.verdict.endswith("but it is not shown to be more than scrambled gains.")


def test_arms_of_other_seeds_are_not_paired(make_gates: MakeGates) -> None:
    config = EvaluationConfig(families=FAMILIES[:1], num_steps=1, num_seeds=1, num_validation=1, num_test=1)
    one = evaluate(make_gates(), planted.Oracle(), config=config)
    other = one.model_copy(update={"arm": "b", "config": config.model_copy(update={"num_seeds": 2})})
    with pytest.raises(ConfigError, match="arms of different names with equal seeds"):
        transfer_to([one, other], make_gates())


def test_a_seed_that_lacks_a_prompt_in_one_arm_is_left_out(make_gates: MakeGates) -> None:
    config = EvaluationConfig(families=FAMILIES, num_steps=1, num_seeds=4, num_validation=4, num_test=4)
    oracle = evaluate(make_gates(), planted.Oracle(), config=config, arm="oracle")
    update = {"arm": "again", "kind": "same again", "prompts": (*oracle.prompts[:2], *oracle.prompts[3:])}
    there = transfer_to([oracle, oracle.model_copy(update=update)], make_gates(families=FAMILIES), num_test=5)
    gains, difference = there.gains, there.differences["again"]
    assert (gains["oracle"].num, gains["again"].num, difference.num, difference.mean) == (4, 3, 3, 0.0)


def test_intervals_of_gains_end_at_the_bounds_of_the_scores(make_gates: MakeGates) -> None:
    config = EvaluationConfig(families=FAMILIES, num_steps=1, num_seeds=2, num_validation=4, num_test=4)
    reports = [
        evaluate(make_gates(), reflector, config=config, arm=arm)
        for arm, reflector in (("oracle", planted.Oracle()), ("none", planted.Identity()))
    ]
    env = make_gates(families=FAMILIES)
    there = transfer_to(reports, env, num_test=2)
    matrix = transfer_matrix({"A": reports[0]}, {"B": env}, num_test=2)
    gains = [item for item in (*there.gains.values(), *itertools.chain(*matrix.gains)) if item is not None]
    assert len(gains) == 6
    assert all(-1 <= item.low <= item.high <= 1 for item in gains)
    assert all(-2 <= item.low <= item.high <= 2 for item in there.differences.values())


def test_the_tasks_of_all_targets_are_drawn_before_anything_is_played(make_gates: MakeGates) -> None:
    config = EvaluationConfig(families=FAMILIES[:1], num_steps=1, num_seeds=1, num_validation=1, num_test=1)
    report = evaluate(make_gates(), planted.Oracle(), config=config)
    wide = make_gates(families=FAMILIES[:1])
    wide.on_episode = lambda trajectory: pytest.fail("an episode was played")
    refusal = r"too few test tasks .* 200 are asked for, .* Lower num_test"
    with (
        metagym.make("MetaGym/Questions-v0", actor="demo") as narrow,
        pytest.raises(TasksExhaustedError, match=refusal),
    ):
        transfer_matrix({"a": report}, {"wide": wide, "narrow": narrow}, num_test=200)
