"""What a run will take: the pilot counts what a ChatActor really sends; the seeds follow the textbook."""

from __future__ import annotations

import pytest

from metagym.actors import ChatActor
from metagym.budget import Attempt, Ledger, Prices
from metagym.errors import ConfigError
from metagym.models.context import estimate_tokens
from metagym.runs.cost_estimate import Load, estimate_meta_step, read_load
from metagym.statistics import seeds_needed
from metagym.statistics.power import _power
from metagym.testing import FakeChatModel
from metagym.types import Usage
from tests.conftest import MakeGates


@pytest.mark.parametrize(
    ("effect", "num_seeds"),
    [(0.2, 199), (0.3, 90), (0.5, 34), (0.8, 15), (1.0, 10), (1.5, 6), (3.0, 4)],
)
def test_seeds_for_80_percent_power_are_those_of_the_tables(effect: float, num_seeds: int) -> None:
    """Two-sided paired t test, alpha 5 %; Cohen 1988, and G*Power 3.1 (`dz`)."""
    assert seeds_needed(effect, 1.0) == num_seeds


def test_without_an_effect_the_power_is_alpha() -> None:
    for num_seeds in (2, 3, 10, 100):
        assert _power(num_seeds, 0.0, 0.05) == pytest.approx(0.05, abs=1e-3)


def test_power_agrees_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for num_seeds, effect in ((3, 1.0), (5, 0.5), (20, 0.4), (100, 0.2)):
        nu, shift = num_seeds - 1, effect * num_seeds**0.5
        critical = stats.t.ppf(0.975, nu)
        exact = 1 - stats.nct.cdf(critical, nu, shift) + stats.nct.cdf(-critical, nu, shift)
        assert _power(num_seeds, effect, 0.05) == pytest.approx(exact, abs=2e-3)


@pytest.mark.parametrize("numbers", [(0.0, 1.0), (-1.0, 1.0), (0.1, 0.0)])
def test_senseless_numbers_are_refused(numbers: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="Expected effect, sd > 0"):
        seeds_needed(*numbers)


def test_an_effect_that_no_one_can_find_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs more than a million seeds"):
        seeds_needed(1e-6, 1.0)


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
    with pytest.raises(ConfigError, match="The pilot wants an environment with actor='random', got Gates"):
        estimate_meta_step(make_gates("demo"), reply_tokens=50)


def test_loads_have_a_price_and_an_earlier_run_gives_them() -> None:
    load = Load(num_calls=2, prompt_tokens=1e6, completion_tokens=5e5)
    assert load.times(2).cost(Prices(prompt=1.0, completion=4.0)) == pytest.approx(2 * (1.0 + 2.0))
    ledger = Ledger()
    usage = Usage(prompt_tokens=100, completion_tokens=10, num_calls=1)
    ledger.book(Attempt(number=0, role="actor", purpose="learning", meta_step=0, outcome="whole", usage=usage))
    assert read_load(ledger.rows(), 2) == Load(num_calls=0.5, prompt_tokens=50, completion_tokens=5)
