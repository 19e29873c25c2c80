"""Reasoning: questions of reasoning-gym by family and seed, judged by their own scorers."""

from __future__ import annotations

import functools
import inspect
import json
import re
from typing import Any

import numpy as np
import pytest

pytest.importorskip("reasoning_gym", reason="needs the extra reasoning")

import metagym
from metagym.envs.reasoning.env import (
    DEFAULT_FAMILIES,
    LEFT_OUT,
    ReasoningEnv,
    ReasoningTaskSet,
    generators,
    make_question,
)
from metagym.errors import ConfigError, InnerEnvError, UnknownNameError
from metagym.testing import check_meta_env, check_text_env
from tests.conftest import run_python

pytestmark = pytest.mark.reasoning
QUICK = [name for name in generators() if name not in ("figlet_font", "group_anagrams", "codeio")]


def test_it_keeps_the_contract_of_an_inner_environment() -> None:
    check_text_env(ReasoningEnv())


@pytest.mark.slow
def test_families_are_names_of_generators() -> None:
    with pytest.raises(UnknownNameError, match="Unknown family 'gdc'"):
        ReasoningEnv(families=["gdc"])
    with pytest.raises(ConfigError, match="families must be a non-empty list of names"):
        ReasoningEnv(families=[])


@pytest.mark.slow
def test_it_keeps_the_contract_of_a_meta_environment() -> None:
    check_meta_env("MetaGym/Reasoning-v0", episodes_per_step=3)


@pytest.mark.parametrize("family", DEFAULT_FAMILIES)
def test_the_answer_of_a_question_scores_one_and_another_less(family: str) -> None:
    for seed in range(5):
        question = make_question(family, seed, 0)
        assert question.score(question.answer) == 1.0
        assert question.score("I do not know") < 1.0
        assert "\n" not in question.answer


@pytest.mark.slow
@pytest.mark.parametrize("family", QUICK)
def test_every_family_has_answers_of_one_line_that_score_one(family: str) -> None:
    for seed in range(10):
        question = make_question(family, seed, 0)
        assert question.score(question.answer) == 1.0
        assert "\n" not in question.answer


SCRIPT = """
import json, sys
from metagym.envs.reasoning.env import make_question
print(json.dumps([make_question(name, seed, 0)[:2] for name in json.loads(sys.argv[1]) for seed in (5, 1)]))
"""


@pytest.mark.slow
def test_equal_seeds_are_equal_questions_in_any_process() -> None:
    done = run_python(SCRIPT, json.dumps(QUICK))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[*make_question(name, seed, 0)[:2]] for name in QUICK for seed in (5, 1)]


@pytest.mark.slow
def test_no_question_is_in_two_roles() -> None:
    tasks = ReasoningTaskSet()
    found = {
        role: {
            make_question(task.family, task.seed, 0).text
            for task in tasks.draw(24, rng=np.random.default_rng(0), families=DEFAULT_FAMILIES, split=role)
        }
        for role in ("train", "validation", "test")
    }
    assert not found["train"] & found["test"]
    assert not found["train"] & found["validation"]
    assert not found["validation"] & found["test"]


def test_a_level_changes_the_questions_and_is_in_the_fingerprint() -> None:
    texts = {make_question("basic_arithmetic", 1, level).text for level in (0, 1, 2)}
    assert len(texts) == 3
    with metagym.make("MetaGym/Reasoning-v0", actor="demo", level=2) as env:
        assert env.unwrapped.inner_fingerprint()["level"] == 2
        _, info = env.reset(seed=1)
        assert env.step(info["default_prompt"])[1] == 1.0


@pytest.mark.parametrize(
    ("level", "families", "message"),
    [
        (-1, ["gcd"], "level must be 0 .* or 1 and more .*, got -1"),
        ("2", ["gcd"], "level must be 0 .* or 1 and more .*, got '2'"),
        (True, ["gcd"], "level must be 0 .* or 1 and more .*, got True"),
        (4, ["gcd", "chain_sum"], "Expected a level from 0 to 3 for gcd. Got level=4. Choose another level, or leave"),
        (2, ["caesar_cipher"], "Expected a level from 0 to 1 for caesar_cipher. Got level=2"),
        (1, ["acre"], "Expected level=0 for acre: it has no others. Got level=1"),
    ],
)
def test_a_level_that_a_family_does_not_have_is_refused(level: Any, families: list[str], message: str) -> None:
    for make in (ReasoningEnv, functools.partial(metagym.make, "MetaGym/Reasoning-v0", actor="demo")):
        with pytest.raises(ConfigError, match=message):
            make(level=level, families=families)
    with pytest.raises(ConfigError, match=message):
        make_question(families[0], 1, level)


def test_only_the_families_that_are_played_need_the_level() -> None:
    with metagym.make("MetaGym/Reasoning-v0", actor="demo", level=9, families=["chain_sum"]) as env:
        _, info = env.reset(seed=1)
        assert env.step(info["default_prompt"])[1] == 1.0


def test_a_generator_that_fails_is_named_with_the_question(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(config: Any) -> Any:
        raise ValueError("no primes left")

    factory = pytest.importorskip("reasoning_gym.factory")
    monkeypatch.setitem(factory.DATASETS, "gcd", (broken, factory.DATASETS["gcd"][1]))
    expected = "Expected reasoning-gym to make the question gcd/7 at level 0, got ValueError: no primes left. Choose"
    with pytest.raises(InnerEnvError, match=expected):
        make_question("gcd", 7, 0)


CONSTANT = ("0", "1", "nan", "inf", "1e999", "True", "yes", "{}", "[]", "1/0", "I do not know")


@pytest.mark.parametrize("family", [*DEFAULT_FAMILIES, "prime_factorization", "game_of_life"])
def test_a_reply_that_does_not_depend_on_the_question_is_never_an_error_and_seldom_right(family: str) -> None:
    questions = [make_question(family, seed, 0) for seed in range(10)]
    for reply in CONSTANT:
        assert sum(question.score(reply) == 1.0 != (question.answer == reply) for question in questions) <= 4


def test_no_scorer_executes_the_reply() -> None:
    for name in QUICK:
        source = inspect.getsource(type(make_question(name, 1, 0).dataset))
        assert not re.search(r"(eval|exec|parse_expr|sympify)\(answer", source), name


def test_a_reply_that_cannot_be_read_scores_zero_by_both_scores() -> None:
    for score in ("success", "progress"):
        with metagym.make("MetaGym/Reasoning-v0", actor="random", score=score) as env:
            _, info = env.reset(seed=1)
            assert env.step(info["default_prompt"])[1] == 0.0


def test_what_is_left_out_says_why() -> None:
    assert not set(generators()) & set(LEFT_OUT)
    assert len(generators()) == 68
    assert set(DEFAULT_FAMILIES) <= set(generators())
    with pytest.raises(UnknownNameError, match="number_sequence is left out: for some seeds it searches for 40"):
        make_question("number_sequence", 1, 0)
    for family in ("list_functions", "knight_swap"):
        with pytest.raises(UnknownNameError, match=f"{family} is left out: equal seeds do not give equal"):
            make_question(family, 1, 0)
