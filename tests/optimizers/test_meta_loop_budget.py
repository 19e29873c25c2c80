"""The plain loop within a budget: what is begun, what counts at the end, and whose money it is."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from metagym.actor import ChatActor
from metagym.budget import Budget, BudgetUse, Ledger
from metagym.env import MetaEnv
from metagym.envs.gates.demo import GatesDemoReflector
from metagym.errors import BudgetExceededError
from metagym.optimizers import InTurn
from metagym.optimizers.meta_loop import optimize
from metagym.reflectors import ChatReflector
from metagym.reflectors.scripted_model import ScriptedReflectorModel
from metagym.testing import FakeChatModel
from metagym.types import MetaStep
from tests.conftest import MakeGates


def number(history: Sequence[MetaStep]) -> str:
    return f"Prompt {len(history)}."


def test_without_a_limit_it_is_optimize_and_one_reflection_more(make_seeded: MakeGates) -> None:
    env = make_seeded()
    found = InTurn(4)(env, GatesDemoReflector(), budget=Budget())
    expected = optimize(make_seeded(), GatesDemoReflector(), 4)
    assert [item.reward for item in found.history] == [item.reward for item in expected.history]
    assert found.prompts[:4] == tuple(item.prompt for item in expected.history)
    assert found.last_reflection is not None
    assert found.last_prompt == found.last_reflection.prompt
    assert found.stopped == ""
    assert [item.episodes for item in found.outlays] == [0, 5, 10, 15, 20]


@pytest.mark.parametrize(("episodes", "meta_steps"), [(0, 0), (4, 0), (5, 1), (14, 2), (15, 3), (99, 3)])
def test_no_batch_is_begun_that_the_episodes_do_not_cover(
    make_seeded: MakeGates, episodes: int, meta_steps: int
) -> None:
    env = make_seeded()
    found = InTurn(3)(env, number, budget=Budget(episodes=episodes))
    assert len(found.history) == meta_steps
    assert env.ledger.num_episodes == 5 * meta_steps
    # The last prompt was written within the budget; it counts, though nothing was played under it.
    assert found.last_prompt == (f"Prompt {meta_steps}." if meta_steps else env.default_prompt)
    assert bool(found.stopped) == (meta_steps < 3)


def test_a_budget_that_gives_out_in_a_reflection_leaves_the_prompt_before_it(make_seeded: MakeGates) -> None:
    model = ScriptedReflectorModel()
    found = InTurn(4)(make_seeded(), ChatReflector(model), budget=Budget(calls=2))
    assert len(found.history) == 3
    assert found.stopped.startswith("The budget of 2 calls is spent, and the next call (reflector, meta-step 2)")
    assert found.last_prompt == found.history[-1].prompt
    assert found.last_reflection is None  # the one before wrote that prompt, and stands in the history
    assert len(found.outlays) == len(found.prompts) == 4
    assert found.outlays[-1] == BudgetUse(episodes=15, calls=2, tokens=found.outlays[-1].tokens)


def test_a_budget_that_gives_out_in_a_batch_keeps_the_prompt_that_was_written_for_it(make_seeded: MakeGates) -> None:
    model = FakeChatModel(["Action: knock"])
    env = make_seeded(ChatActor(model), episodes_per_step=2, max_steps=3)
    found = InTurn(5)(env, number, budget=Budget(calls=8))
    assert len(model.calls) == 8
    assert len(found.history) == 1
    assert found.last_prompt == "Prompt 1."
    assert found.stopped.startswith("The budget of 8 calls is spent")


def test_a_budget_of_the_run_is_no_end_but_an_error(make_seeded: MakeGates) -> None:
    env = make_seeded(budget={"episodes": 12})
    with pytest.raises(BudgetExceededError, match="The budget of 12 episodes") as raised:
        InTurn(5)(env, number, budget=Budget(episodes=100))
    assert len(raised.value.history) == 2
    assert raised.value.ledger is env.ledger


def test_its_ledger_is_the_environments_again_afterwards(make_seeded: MakeGates) -> None:
    env: MetaEnv = make_seeded()
    ledger: Ledger = env.ledger
    InTurn(1)(env, number, budget=Budget(episodes=5))
    assert env.ledger is ledger
    assert ledger.used.episodes == 5
