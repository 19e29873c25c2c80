"""MetaGym/Tools-v0: the benchmark's own solutions score 1.0, and everything else follows from its own checks."""

from __future__ import annotations

from collections import Counter
from typing import Any

import gymnasium as gym
import pytest

from metagym.errors import MissingExtraError, UnknownNameError
from metagym.imports import install_command, require
from metagym.tools import ToolCall, tools_problem
from metagym.types import Action

pytest.importorskip("bfcl_eval", reason=f"needs {install_command('bfcl-eval')}")

from metagym.envs.tools import ToolsEnv, load_tasks
from metagym.envs.tools.demo import DONE, ToolsExpert
from metagym.envs.tools.meta import ToolsMetaEnv
from metagym.envs.tools.tasks import tools_task_set
from metagym.testing import check_meta_env, check_text_env

BASE = [f"multi_turn_base_{number}" for number in range(200)]


class Careless(ToolsExpert):
    """Leaves out the first call of the episode."""

    def plan(self, episode: Any) -> Any:
        actions = list(super().plan(episode))
        first = next(number for number, action in enumerate(actions) if action.text != DONE)
        return [action for number, action in enumerate(actions) if number != first]


def scores(actor: Any, ids: list[str], **options: Any) -> list[float | None]:
    with ToolsMetaEnv(actor, max_steps=80, **options) as env:
        return list(env.replay(["p"], ids)[0].scores)


@pytest.mark.slow
def test_the_solution_of_each_base_task_scores_one_by_both_checks() -> None:
    assert scores(ToolsExpert(), BASE) == [1.0] * 200
    assert scores(ToolsExpert(), BASE, check="calls") == [1.0] * 200


@pytest.mark.slow
def test_the_solution_of_each_variant_scores_one() -> None:
    ids = [task.id for task in load_tasks().values() if task.is_solvable and "/" in task.family]
    assert (len(ids), set(scores(ToolsExpert(), ids))) == (599, {1.0})


@pytest.mark.slow
def test_a_solution_without_one_of_its_calls_scores_below() -> None:
    assert sum(score or 0.0 for score in scores(Careless(), BASE)) <= 20
    assert scores(Careless(), BASE, check="calls") == [0.0] * 200


def test_the_solutions_of_some_tasks_score_one() -> None:
    assert scores(ToolsExpert(), BASE[::20]) == [1.0] * 10


def test_more_calls_than_needed_pass_the_check_of_state_but_not_that_of_calls() -> None:
    class Curious(ToolsExpert):
        def plan(self, episode: Any) -> Any:
            return [Action(text=ToolCall("pwd", {}).text), *super().plan(episode)]

    assert scores(Curious(), BASE[:1]) == [1.0]
    assert scores(Curious(), BASE[:1], check="calls") == [0.0]


def test_a_task_is_a_conversation_and_says_which_turn_was_wrong() -> None:
    env = ToolsEnv()
    text, info = env.reset(options={"task_id": "multi_turn_base_0"})
    task = load_tasks()["multi_turn_base_0"]
    assert text == task.requests[0]
    assert tools_problem(info["tools"]) == ""
    for call in task.solution[0]:
        _, reward, terminated, _, info = env.step(call.text)
        assert (reward, terminated, "tools" in info) == (0.0, False, False)
    text, *_, info = env.step("Done.")
    assert (text, info["progress"]) == (task.requests[1], 0.25)
    _, reward, terminated, _, info = env.step("I cannot do that.")
    assert (reward, terminated, info["outcome"]) == (0.0, True, "turn 2 of 4: no function was called")


def test_a_missing_function_comes_with_its_own_turn() -> None:
    env, task = ToolsEnv(), load_tasks()["multi_turn_miss_func_0"]
    _, info = env.reset(options={"task_id": task.id})
    assert "sort" not in {tool["function"]["name"] for tool in info["tools"]}
    assert env.step(ToolCall("sort", {"file_name": "x"}).text)[0].startswith("Error during execution: There is no tool")
    env.reset(options={"task_id": task.id})
    for turn in task.solution[:3]:
        for call in turn:
            env.step(call.text)
        text, *_, info = env.step("Done.")
    assert "sort" in {tool["function"]["name"] for tool in info["tools"]}
    assert text


def test_an_error_of_an_api_is_a_result() -> None:
    env = ToolsEnv()
    env.reset(options={"task_id": "multi_turn_base_0"})
    assert "no_such_folder" in env.step(ToolCall("cd", {"folder": "no_such_folder"}).text)[0]


def test_tasks_that_share_their_content_have_one_role() -> None:
    roles: dict[str, set[str]] = {}
    tasks = tools_task_set()
    found = [tasks.find(task.id) for task in load_tasks().values() if task.is_solvable]
    for task in found:
        roles.setdefault(task.digest, set()).add(task.split)
    assert all(len(splits) == 1 for splits in roles.values())
    assert len(roles) == 195
    assert len(tasks.families) == 80
    assert {name: len(members) for name, members in tasks.groups.items()} == {
        "base": 20,
        "missing-function": 20,
        "missing-parameter": 20,
        "long-context": 20,
    }
    shares = Counter(task.split for task in found if "/" not in task.family)
    assert shares.keys() == {"train", "validation", "test"}


@pytest.mark.slow
def test_the_environments_keep_their_contracts() -> None:
    check_text_env(ToolsEnv(), options={"task_id": "multi_turn_base_3"})
    check_meta_env("MetaGym/Tools-v0", episodes_per_step=2)


@pytest.mark.slow
def test_the_demo_learns_which_functions_it_forgets() -> None:
    from metagym import optimize

    env: Any = gym.make("MetaGym/Tools-v0", actor="demo", families=["files"], episodes_per_step=5).unwrapped
    result = optimize(env, env.make_demo_reflector(), num_steps=2, seed=0)
    assert "when it helps, call" in result.last_prompt
    ids = [task.id for task in load_tasks().values() if task.family == "files"]
    before, after = env.replay([env.default_prompt, result.last_prompt], ids, repetitions=3)
    assert after.reward > before.reward
    env.close()


def test_wrong_options_are_named() -> None:
    with pytest.raises(UnknownNameError, match="Unknown check 'sate'"):
        ToolsMetaEnv("demo", check="sate")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="Unknown task id"):
        ToolsEnv().reset(options={"task_id": "multi_turn_base_999"})


def test_the_missing_package_names_its_own_command() -> None:
    with pytest.raises(MissingExtraError, match=r"Run: pip install --no-deps bfcl-eval=="):
        require("bfcl_eval_that_is_missing", extra="bfcl-eval")
