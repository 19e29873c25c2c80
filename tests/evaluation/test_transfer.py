"""Transfer matrices: a prompt gains in the place in which it was learned."""

from __future__ import annotations

import pytest

from metagym.envs.gates.demo import GatesDemoActor
from metagym.errors import ConfigError
from metagym.evaluation import EvaluationConfig, evaluate
from metagym.evaluation.transfer import transfer_matrix
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


def test_an_empty_matrix_is_refused() -> None:
    with pytest.raises(ConfigError, match="Expected an evaluation and an environment at least, got 0 and 0"):
        transfer_matrix({}, {})
