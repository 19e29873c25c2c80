"""What a run will take: the pilot counts what a ChatActor really sends."""

from __future__ import annotations

import pytest

from metagym.actor import ChatActor
from metagym.budget import Prices
from metagym.errors import ConfigError
from metagym.models import estimate_tokens
from metagym.runs.cost_estimate import Load, cost_of, estimate_meta_step
from metagym.testing import FakeChatModel
from tests.conftest import MakeGates


def test_the_pilot_counts_the_prompts_that_a_chat_actor_sends(make_gates: MakeGates) -> None:
    env = make_gates("random", episodes_per_step=3)
    estimate = estimate_meta_step(env, reply_tokens=50)
    env.reset(seed=0)
    trajectories, *_ = env.step(env.default_prompt)
    actor = ChatActor(FakeChatModel([""]))
    prompt_tokens = sum(
        estimate_tokens(actor.messages(env.default_prompt, item.steps[:turn], step.observation)) + 50 * turn
        for item in trajectories
        for turn, step in enumerate(item.steps)
    )
    num_calls = sum(len(item.steps) for item in trajectories)
    assert estimate.actor == Load(num_calls=num_calls, prompt_tokens=prompt_tokens, completion_tokens=50 * num_calls)
    assert estimate.actor_at_most.num_calls == 3 * env.config.max_steps
    assert estimate.actor_at_most.prompt_tokens >= estimate.actor.prompt_tokens
    assert (estimate.reflector.num_calls, estimate.num_pilot_episodes) == (1, 3)
    assert env.ledger.spent().max_calls == 0


def test_a_pilot_calls_no_model(make_gates: MakeGates) -> None:
    with pytest.raises(ConfigError, match="Expected an environment with actor='random', got Gates"):
        estimate_meta_step(make_gates("demo"), reply_tokens=50)


def test_loads_have_a_price() -> None:
    load, prices = Load(num_calls=2, prompt_tokens=1e6, completion_tokens=5e5), Prices(prompt=1.0, completion=4.0)
    assert load.times(2).cost(prices) == pytest.approx(2 * (1.0 + 2.0))
    assert cost_of([load, load.times(0)], [prices, None]) == pytest.approx(1.0 + 2.0)
    assert cost_of([load, load], [prices, None]) is None
