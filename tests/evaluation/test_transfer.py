"""Transfer matrices and copied text."""

from __future__ import annotations

import pytest

from metagym.envs.gates.demo import GatesDemoActor
from metagym.errors import ConfigError
from metagym.evaluation import EvaluationConfig, evaluate
from metagym.evaluation.memorisation import copied
from metagym.evaluation.transfer import transfer_matrix
from tests.conftest import MakeGates, make_step, make_trajectory
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
    with pytest.raises(ConfigError, match="Expected at least one evaluation and one environment, got 0 and 0"):
        transfer_matrix({}, {})


def test_names_numbers_and_sentences_of_the_learning_tasks_are_found_in_the_prompt() -> None:
    learned = [make_trajectory([make_step("The mug stands on shelf 3 beside the lamp. You see a door.")])]
    others = [make_trajectory([make_step("You see a door.")])]
    prompt = "Be quick. The mug stands on shelf 3 beside the lamp. You see a door. Look in drawer 9."
    found = copied(prompt, learned, others=others, first_prompt="Be quick.")
    assert found.names == ("shelf 3",)
    assert found.sentences == ("the mug stands on shelf 3 beside the lamp",)
    assert 0.2 < found.ngram_share < 0.8


def test_a_lesson_in_new_words_copies_nothing() -> None:
    learned = [make_trajectory([make_step("The mug stands on shelf 3.")])]
    found = copied("Search open places before closed ones, and remember what you saw.", learned)
    assert (found.ngram_share, found.names, found.sentences) == (0.0, (), ())
    assert copied("", learned).ngram_share == 0.0
