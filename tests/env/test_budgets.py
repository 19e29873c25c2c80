"""Budgets in episodes, and branches of a meta-environment with books of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium.error import ResetNeeded

from metagym.actor import ChatActor
from metagym.budget import Budget, Ledger
from metagym.env import MetaEnv
from metagym.errors import BudgetExceededError, ConfigError, EpisodesFailedError
from metagym.testing import FakeChatModel
from tests.conftest import FailingEnv, MakeGates, gates_of


def test_a_batch_that_the_budget_in_episodes_does_not_cover_is_not_started(make_gates: MakeGates) -> None:
    env = make_gates(budget={"episodes": 7})
    _, info = env.reset(seed=0)
    first, *_ = env.step(info["default_prompt"])
    with pytest.raises(
        BudgetExceededError, match="The budget of 7 episodes leaves 2, and the next batch takes 5"
    ) as raised:
        env.step("Push.")
    assert raised.value.meta_step is not None
    assert raised.value.meta_step.trajectories == ()
    with pytest.raises(BudgetExceededError, match="leaves 2, and the next batch takes 3"):
        env.replay(["Push."], [item.task.id for item in first[:3]])
    env.replay(["Push."], [item.task.id for item in first[:2]])
    assert (env.ledger.num_episodes, env.ledger.used.episodes) == (7, 7)
    env.ledger.budget = Budget(episodes=12)
    trajectories, *_ = env.step("Push.")
    assert len(trajectories) == 5


def test_episodes_that_failed_for_infrastructure_reasons_are_not_counted(make_gates: MakeGates) -> None:
    env = make_gates(cls=gates_of(lambda inner: FailingEnv(inner, lambda task_id: True)), budget={"episodes": 5})
    env.reset(seed=0)
    for _ in range(2):
        with pytest.raises(EpisodesFailedError):
            env.step("Push.")
    assert env.ledger.used.episodes == 0


def test_a_branch_shares_tasks_and_actor_and_has_its_own_options_and_ledger(make_gates: MakeGates) -> None:
    env = make_gates()
    ledger = Ledger()
    options: dict[str, Any] = {"families": ("law-0007",), "episodes_per_step": 2, "arm": "b"}
    branch = env.branch(ledger=ledger, rng=np.random.default_rng(4), **options)
    _, info = branch.reset()
    trajectories, *_ = branch.step(info["default_prompt"])
    assert {(item.task.family, item.episode.arm) for item in trajectories} == {("law-0007", "b")}
    assert (len(trajectories), ledger.num_episodes, env.ledger.num_episodes) == (2, 2, 0)
    assert branch.actor is env.actor
    assert branch.task_set is env.task_set
    assert branch.player.engine.slots is env.player.engine.slots
    again = env.branch(ledger=ledger, rng=np.random.default_rng(4), **options)
    again.reset()
    assert again.step(info["default_prompt"])[0] == trajectories
    assert env.config.episodes_per_step == 5
    with pytest.raises(ResetNeeded):
        env.step("Push.")
    with pytest.raises(ConfigError, match="Unknown option 'colour'"):
        env.branch(ledger=ledger, rng=np.random.default_rng(4), colour="red")


@pytest.mark.parametrize("shared", [{"workers": 2}, {"max_concurrency": 1}, {"budget": {"episodes": 5}}])
def test_a_branch_refuses_workers_and_limits_of_its_own(make_gates: MakeGates, shared: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"takes no {next(iter(shared))}"):
        make_gates().branch(ledger=Ledger(), rng=np.random.default_rng(4), **shared)


def test_a_branch_plays_failed_episodes_again_up_to_its_retries(make_gates: MakeGates) -> None:
    failures: dict[str, int] = {}

    def fails_twice(task_id: str) -> bool:
        failures[task_id] = failures.get(task_id, 0) + 1
        return failures[task_id] <= 2

    env = make_gates(cls=gates_of(lambda inner: FailingEnv(inner, fails_twice)), attempts=1)
    ledger = Ledger()
    branch = env.branch(ledger=ledger, rng=np.random.default_rng(4), retries=2)
    branch.reset()
    trajectories, *_ = branch.step("Push.")
    assert None not in [item.score for item in trajectories]
    assert set(failures.values()) == {3}
    assert ledger.used.episodes == 5
    failures.clear()
    branch = env.branch(ledger=ledger, rng=np.random.default_rng(5), retries=1)
    branch.reset()
    with pytest.raises(EpisodesFailedError, match="5 of 5 episodes failed"):
        branch.step("Push.")


def one_call_each(make_gates: MakeGates, **options: Any) -> MetaEnv:
    """Make an environment whose episodes take one call, one after another."""
    actor = ChatActor(FakeChatModel(["Action: push"]))
    return make_gates(actor, max_steps=1, max_concurrency=1, attempts=1, **options)


def test_episodes_kept_under_one_prompt_make_no_room_for_another(make_gates: MakeGates) -> None:
    env = one_call_each(make_gates, budget={"calls": 3})
    env.reset(seed=0)
    with pytest.raises(BudgetExceededError):
        env.step("Push.")
    env.ledger.budget = Budget(episodes=8)
    env.step("Pull.")  # the same tasks, all of them played again
    assert (env.ledger.num_failed, env.ledger.used.episodes, env.ledger.spent().max_calls) == (1, 8, 8)


def test_a_budget_that_runs_out_during_a_retry_loses_no_episode(make_gates: MakeGates) -> None:
    failed: list[str] = []

    def fails_once(task_id: str) -> bool:
        failed.append(task_id)
        return len(failed) == 1

    env = one_call_each(make_gates, cls=gates_of(lambda inner: FailingEnv(inner, fails_once)))
    ledger = Ledger(Budget(calls=4))
    branch = env.branch(ledger=ledger, rng=np.random.default_rng(4), retries=1)
    branch.reset()
    with pytest.raises(BudgetExceededError) as raised:
        branch.step("Push.")
    assert raised.value.meta_step is not None
    assert [item.score is None for item in raised.value.meta_step.trajectories] == [True, *[False] * 4]
    ledger.budget = Budget()
    trajectories, *_ = branch.step("Push.")
    assert len(trajectories) == 5
    assert (ledger.used.episodes, ledger.spent().max_calls) == (5, 5)


def test_the_fingerprint_of_a_branch_is_its_own(make_gates: MakeGates) -> None:
    env = make_gates()
    alike, other = (
        env.branch(ledger=Ledger(), rng=np.random.default_rng(4), split=split).reset()[1]["fingerprint"]
        for split in ("train", "test")
    )
    assert alike == env.reset(seed=0)[1]["fingerprint"] != other
