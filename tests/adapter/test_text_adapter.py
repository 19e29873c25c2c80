"""TextAdapter: any Gymnasium environment as an inner one."""

from __future__ import annotations

from typing import Any

import gymnasium
import pytest

from metagym import TextAdapter
from metagym.errors import ConfigError
from metagym.testing import check_text_env

ACTIONS = ("left", "down", "right", "up")
WAY = ("down", "down", "right", "right", "down", "right")


def lake(**options: Any) -> TextAdapter:
    env = gymnasium.make("FrozenLake-v1", is_slippery=False)
    return TextAdapter(
        env, **{"actions": ACTIONS, "render": lambda observation, info: f"Field {observation}.", **options}
    )


def test_it_keeps_the_contract_of_inner_environments() -> None:
    check_text_env(lake())


def test_reset_gives_text_goal_and_commands() -> None:
    text, info = lake(goal="Reach the gift.").reset(seed=0)
    assert text == "Field 0."
    assert info == {"goal": "Reach the gift.", "available_actions": ACTIONS, "success": False}


def test_commands_are_mapped_to_actions_in_order() -> None:
    env = lake()
    env.reset(seed=0)
    assert [env.step(command)[0] for command in WAY] == [f"Field {n}." for n in (4, 8, 9, 10, 14, 15)]


def test_a_mapping_names_the_actions() -> None:
    env = lake(actions={"east": 2})
    env.reset(seed=0)
    assert env.step("east")[0] == "Field 1."


def test_reaching_the_goal_is_a_success() -> None:
    env = lake()
    env.reset(seed=0)
    *_, (_, reward, terminated, truncated, info) = (env.step(command) for command in WAY)
    assert (reward, terminated, truncated, info["success"]) == (1.0, True, False, True)


def test_an_end_without_reward_is_no_success() -> None:
    env = lake()
    env.reset(seed=0)
    env.step("down")
    _, reward, terminated, _, info = env.step("right")
    assert (reward, terminated, info["success"]) == (0.0, True, False)


def test_a_function_may_decide_about_success() -> None:
    env = lake(success=lambda reward, info: info["prob"] == 1.0)
    env.reset(seed=0)
    env.step("down")
    assert env.step("right")[4]["success"] is True


@pytest.mark.parametrize(("limit", "ends"), [(6, (True, True, True)), (5, (False, True, False))])
def test_the_function_knows_whether_the_environment_or_a_limit_ended_the_episode(limit: int, ends: Any) -> None:
    env = TextAdapter(
        gymnasium.make("FrozenLake-v1", is_slippery=False, max_episode_steps=limit),
        actions=ACTIONS,
        render=lambda observation, info: "x",
        success=lambda reward, info: info["terminated"],
    )
    env.reset(seed=0)
    *_, (_, _, terminated, truncated, info) = (env.step(command) for command in WAY[:limit])
    assert (terminated, truncated, info["success"]) == ends


def test_an_episode_cut_off_is_no_success() -> None:
    env = TextAdapter(
        gymnasium.make("CartPole-v1", max_episode_steps=1), actions=["l", "r"], render=lambda observation, info: "x"
    )
    env.reset(seed=0)
    _, reward, terminated, truncated, info = env.step("l")
    assert (reward, terminated, truncated, info["success"]) == (1.0, False, True, False)


def test_an_episode_that_is_terminated_and_truncated_at_its_last_step_may_be_a_success() -> None:
    env = TextAdapter(
        gymnasium.make("FrozenLake-v1", is_slippery=False, max_episode_steps=len(WAY)),
        actions=ACTIONS,
        render=lambda observation, info: "x",
    )
    env.reset(seed=0)
    *_, (_, reward, terminated, truncated, info) = (env.step(command) for command in WAY)
    assert (reward, terminated, truncated, info["success"]) == (1.0, True, True, True)


def pole(**options: Any) -> TextAdapter:
    """A pole that pays 1 for each step, also for the one in which it falls."""
    return TextAdapter(
        gymnasium.make("CartPole-v1"), actions=["l", "r"], render=lambda observation, info: "x", **options
    )


def test_rewards_before_the_last_step_need_a_definition_of_success() -> None:
    env = pole()
    env.reset(seed=0)
    env.step("l")
    with pytest.raises(ConfigError, match=r"Expected CartPoleEnv to give a positive reward in the last step only, got"):
        env.step("l")
    env.reset(seed=0)
    assert env.step("l")[4]["success"] is False


def test_the_return_may_be_the_score() -> None:
    check_text_env(pole(success="return"))
    env = pole(success="return")
    infos = [env.reset(seed=0)[1], *(env.step("l")[4] for _ in range(5))]
    assert not any("success" in info for info in infos)


def test_success_is_a_function_or_the_return() -> None:
    with pytest.raises(ConfigError, match=r"Expected success as a function \(reward, info\) or 'return', got 'reward'"):
        pole(success="reward")


def test_an_unknown_command_is_answered_and_not_executed() -> None:
    env = lake()
    env.reset(seed=0)
    env.step("down")
    assert env.step("fly")[:4] == ("Unknown command 'fly'. Field 4.", 0.0, False, False)
    assert env.step("up")[0] == "Field 0."


def test_the_task_id_is_not_passed_on() -> None:
    passed: list[Any] = []

    class Asking(gymnasium.Wrapper[Any, Any, Any, Any]):
        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            passed.append(options)
            return self.env.reset(seed=seed)

    env = TextAdapter(Asking(gymnasium.make("FrozenLake-v1")), actions=ACTIONS, render=lambda o, i: "")
    env.reset(seed=0, options={"task_id": "lake/0"})
    env.reset(seed=0, options={"task_id": "lake/0", "map": 3})
    assert passed == [None, {"map": 3}]


def test_no_actions_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"actions must name at least one action, got nothing"):
        lake(actions=())


@pytest.mark.parametrize("actions", [["l", "l", "r"], ["l", " "], ["l", None], {5: 0}])
def test_actions_need_different_names(actions: Any) -> None:
    with pytest.raises(ConfigError, match="Expected different names as actions, without blank ones, got"):
        lake(actions=actions)


def test_an_action_outside_the_space_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"The action 4 of 'fly' is not in Discrete\(4\)"):
        lake(actions=(*ACTIONS, "fly"))


def test_close_closes_the_environment_inside() -> None:
    closed: list[bool] = []

    class Closing(gymnasium.Wrapper[Any, Any, Any, Any]):
        def close(self) -> None:
            closed.append(True)

    TextAdapter(Closing(gymnasium.make("FrozenLake-v1")), actions=ACTIONS, render=lambda o, i: "").close()
    assert closed == [True]
