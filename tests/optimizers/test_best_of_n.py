"""Best of n: the candidate that replays best goes on, its replays are learning, and equal candidates are told."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

import pytest

from metagym.budget import Budget
from metagym.envs.gates.demo import GatesDemoActor, GatesDemoReflector
from metagym.errors import ConfigError, EpisodesFailedError, ModelUnavailableError
from metagym.models import Call, Cassette, ask, sample
from metagym.optimizers import BestOfN, InTurn
from metagym.reflectors import ChatReflector
from metagym.testing import FakeChatModel
from metagym.types import Action, Completion, Episode, Message, MetaStep, Observation, Reflection, Step
from tests.conftest import MakeGates
from tests.evaluation.planted import PLAIN, right_prompt

FAMILY = "law-0007"


def written(seeds: dict[int, int]) -> FakeChatModel:
    """A model that writes, for the n-th seed that it sees, a prompt that knows n gates, the second one of all."""

    def respond(messages: Sequence[Message], call: Call) -> str:
        known = seeds.setdefault(call.seed, [1, 4, 2][len(seeds) % 3])
        return f"ANALYSIS: n.\nIMPROVED PROMPT: {right_prompt(FAMILY, known)}"

    return FakeChatModel(respond)


def test_the_best_candidate_on_the_last_batch_replayed_goes_on(make_seeded: MakeGates) -> None:
    env = make_seeded(families=[FAMILY])
    found = BestOfN(n=3, num_steps=2)(env, ChatReflector(written({})), budget=Budget())
    assert found.history[1].prompt == right_prompt(FAMILY, 4)
    assert found.history[1].reward == 1.0 > (found.history[0].reward or 0.0)
    assert found.last_reflection is not None
    assert "Candidate 2 of 3 different ones" in found.last_reflection.analysis


def test_its_replays_are_learning_and_counted(make_seeded: MakeGates) -> None:
    env = make_seeded(families=[FAMILY], episodes_per_step=4)
    found = BestOfN(n=3, num_steps=2)(env, ChatReflector(written({})), budget=Budget())
    assert [item.episodes for item in found.outlays] == [0, 4 + 12, 2 * (4 + 12)]
    assert [item.calls for item in found.outlays] == [0, 3, 6]
    assert env.ledger.num_episodes == 32
    assert env.ledger.spent(purpose="measurement").usage.num_calls == 0


def test_candidates_have_chance_of_their_own_and_the_first_is_the_reflectors_own(make_seeded: MakeGates) -> None:
    seeds: dict[str, list[int]] = {}
    for name, optimizer in (("plain", InTurn(1)), ("best", BestOfN(n=3, num_steps=1))):
        model = written({})
        optimizer(make_seeded(families=[FAMILY]), ChatReflector(model), budget=Budget())
        seeds[name] = [call.seed for _, call in model.calls]
    assert len(set(seeds["best"])) == 3
    assert seeds["best"][0] == seeds["plain"][0]


def test_equal_candidates_are_not_replayed_and_are_told(make_seeded: MakeGates) -> None:
    env = make_seeded()
    found = BestOfN(n=3, num_steps=3)(env, GatesDemoReflector(), budget=Budget())
    plain = InTurn(3)(make_seeded(), GatesDemoReflector(), budget=Budget())
    assert found.prompts == plain.prompts
    assert env.ledger.num_episodes == 15
    assert found.last_reflection is not None
    assert found.last_reflection.analysis.endswith("All 3 candidates are equal.")


def test_a_candidate_that_comes_twice_is_replayed_once(make_seeded: MakeGates) -> None:
    numbers = itertools.cycle([1, 4, 1, 4])
    env = make_seeded(families=[FAMILY])
    found = BestOfN(n=4, num_steps=1)(env, lambda history: right_prompt(FAMILY, next(numbers)), budget=Budget())
    assert found.last_prompt == right_prompt(FAMILY, 4)
    assert env.ledger.num_episodes == 5 + 2 * 5


def test_a_replay_that_the_budget_does_not_cover_is_not_begun(make_seeded: MakeGates) -> None:
    env = make_seeded(families=[FAMILY])
    found = BestOfN(n=3, num_steps=4)(env, ChatReflector(written({})), budget=Budget(episodes=19))
    assert env.ledger.num_episodes == 5
    assert found.last_prompt == env.default_prompt
    assert found.stopped.startswith("The budget of 19 episodes leaves 14, and the next batch takes 15")


def test_the_fields_of_tasks_that_a_candidate_reads_are_noted_and_not_those_of_the_selection(
    make_seeded: MakeGates,
) -> None:
    numbers = itertools.count(1)

    def peek(history: Sequence[MetaStep]) -> str:
        return f"{history[-1].trajectories[0].task.family} {next(numbers)}"

    found = BestOfN(n=2, num_steps=2)(make_seeded(families=[FAMILY]), peek, budget=Budget())
    reflections = [found.history[1].reflection, found.last_reflection]
    assert [item.task_reads for item in reflections if item is not None] == [("family",)] * 2
    blind = BestOfN(n=2, num_steps=1)(make_seeded(), lambda history: f"Walk {next(numbers)}.", budget=Budget())
    assert blind.last_reflection is not None
    assert blind.last_reflection.task_reads == ()


def test_no_candidates_are_refused() -> None:
    with pytest.raises(ConfigError, match="n must be at least 1 candidate, got 0"):
        BestOfN(n=0)


def test_a_failing_candidate_fails_the_whole(make_seeded: MakeGates) -> None:
    class Broken:
        async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
            raise ValueError("no ink")

    with pytest.raises(ValueError, match="no ink"):
        BestOfN(n=2, num_steps=1)(make_seeded(), Broken(), budget=Budget())


async def _reply(model: FakeChatModel, role: str) -> Completion:
    return await ask(model, [{"role": "user", "content": PLAIN}], Call(role, seed=7))


def test_samples_change_the_reflectors_chance_and_never_the_actors() -> None:
    model = FakeChatModel(lambda messages, call: str(call.seed))

    async def main() -> list[str]:
        texts = [(await _reply(model, "reflector")).text, (await _reply(model, "actor")).text]
        for number in (0, 1, 2):
            with sample(number):
                texts += [(await _reply(model, "reflector")).text, (await _reply(model, "actor")).text]
        return texts

    with Cassette(":memory:").open() as cassette:
        texts = asyncio.run(main())
        assert len(cassette) == 4  # three samples of the reflector, one call of the actor
        cassette.close()
    assert texts[0] == texts[2] == "7"
    assert set(texts[1::2]) == {"7"}
    assert len({texts[2], texts[4], texts[6]}) == 3


def test_candidates_whose_replays_failed_are_not_ranked(make_seeded: MakeGates) -> None:
    class Away(GatesDemoActor):
        async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
            if "replay" in episode.arm:
                raise ModelUnavailableError("down")
            return await super().act(episode, steps, observation)

    with pytest.raises(EpisodesFailedError, match=r"replayed episodes failed. The first failure: .*down"):
        BestOfN(n=3, num_steps=2)(make_seeded(Away()), ChatReflector(written({})), budget=Budget())
