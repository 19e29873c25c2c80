"""check_reflector finds each breach of a reflector's contract, and says how to keep it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from metagym.errors import BudgetExceededError, ContractError
from metagym.models import Call, ask
from metagym.reflectors import FixedReflector, Replay, as_reflector
from metagym.reflectors.scripted_model import ScriptedReflectorModel
from metagym.testing import check_reflector
from metagym.testing.reflector_checks import CANARY, CanaryGates
from metagym.types import Message, MetaStep, Reflection

MESSAGES: list[Message] = [{"role": "system", "content": "IMPROVED PROMPT:"}, {"role": "user", "content": "Well?"}]


class Good:
    """Asks once, and counts its calls in its memory."""

    fingerprint: Any = {"kind": "Good"}

    def __init__(self, model: Any) -> None:
        self.model = model

    def messages(self, history: Sequence[MetaStep]) -> list[Message]:
        return MESSAGES

    async def complete(self, call: Call, history: Sequence[MetaStep]) -> Any:
        return await ask(self.model, self.messages(history), call)

    async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
        last = history[-1]
        completion = await self.complete(Call(role="reflector", meta_step=last.index), history)
        memory = (last.reflection.memory if last.reflection else 0) or 0
        if "IMPROVED" not in completion.text or completion.finish_reason == "length":
            return self.spoilt(last, memory)
        return self.written(f"prompt {memory + 1}", memory + 1)

    def written(self, prompt: str, memory: Any) -> Reflection:
        return Reflection(prompt=prompt, memory=memory)

    def spoilt(self, last: MetaStep, memory: Any) -> Reflection:
        return Reflection(prompt=last.prompt, memory=memory or None, problem="It was spoilt.")


def test_good_reflectors_pass() -> None:
    check_reflector(Good)
    check_reflector(lambda model: Good(model))
    check_reflector(FixedReflector)
    check_reflector(FixedReflector())


class Plain:
    def reflect(self, history: Sequence[MetaStep]) -> str:
        return "Walk."


def test_a_reflector_with_a_plain_method_passes() -> None:
    check_reflector(Plain, num_steps=3)


def test_a_reflector_that_reads_fields_of_the_tasks_passes() -> None:
    check_reflector(as_reflector(lambda history: f"Family {history[-1].trajectories[0].task.family}."), num_steps=3)


def improve(history: Sequence[MetaStep]) -> str:
    return history[-1].prompt


@pytest.mark.parametrize("made", [improve, lambda model: Good()])  # type: ignore[call-arg]
def test_a_function_that_makes_no_reflector_is_named_with_the_remedy(made: Any) -> None:
    with pytest.raises(ContractError, match=r"makes a reflector from a model; it raised TypeError.*as_reflector"):
        check_reflector(made)


@pytest.mark.parametrize(("split", "is_marked"), [("train", False), ("validation", True), ("test", True)])
def test_the_canary_is_in_validation_and_test_tasks_only(split: str, is_marked: bool) -> None:
    with contextlib.closing(CanaryGates("random")) as env:
        (task,) = env.task_set.draw(1, rng=np.random.default_rng(0), families=["law-0007"], split=split)
        (played,) = env.replay(["Be quick."], [task.id])
    texts = [step.observation.text for step in played.trajectories[0].steps]
    assert {CANARY in text for text in texts} == {is_marked}


class Forgetful(Good):
    """Remembers in the object."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.count = 0

    def written(self, prompt: str, memory: Any) -> Reflection:
        self.count += 1
        return Reflection(prompt=f"prompt {self.count}")


class Clairvoyant(Good):
    """Remembers the longest history. No resumed run shows it, but a second look at an earlier history does."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.longest = 0

    async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
        self.longest = max(self.longest, len(history))
        await self.complete(Call(role="reflector", meta_step=history[-1].index), history)
        return Reflection(prompt="I knew it." if len(history) < self.longest else f"prompt {len(history)}")


NUMBERS = itertools.count()


class Random(Good):
    def messages(self, history: Sequence[MetaStep]) -> list[Message]:
        return [MESSAGES[0], {"role": "user", "content": f"Well? {next(NUMBERS)}"}]


class Unbooked(Good):
    async def complete(self, call: Call, history: Sequence[MetaStep]) -> Any:
        return await self.model.complete(MESSAGES, call)


class Objects(Good):
    @property
    def fingerprint(self) -> Any:  # type: ignore[override]
        return {"kind": "Objects", "model": object()}


class Silent(Good):
    def spoilt(self, last: MetaStep, memory: Any) -> Reflection:
        return Reflection(prompt=last.prompt, memory=memory or None)


class Rash(Good):
    def spoilt(self, last: MetaStep, memory: Any) -> Reflection:
        return Reflection(prompt="I guess.", memory=memory or None, problem="It was spoilt.")


class Amnesic(Good):
    def spoilt(self, last: MetaStep, memory: Any) -> Reflection:
        return Reflection(prompt=last.prompt, memory=0, problem="It was spoilt.")


class Spender(Good):
    async def complete(self, call: Call, history: Sequence[MetaStep]) -> Any:
        with contextlib.suppress(BudgetExceededError):
            return await super().complete(call, history)
        return await ScriptedReflectorModel().complete(MESSAGES, call)


class Peeping(Good):
    """Plays validation tasks in its rollouts."""

    replay: Replay

    def bound_to(self, replay: Replay) -> Peeping:
        bound = Peeping(self.model)
        bound.replay = replay
        return bound

    async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
        from metagym.envs.gates import GatesTaskSet

        (task,) = GatesTaskSet().draw(1, rng=np.random.default_rng(0), families=["law-0007"], split="validation")
        await self.replay([history[-1].prompt], [task.id])
        return await super().reflect(history)


class Telling(Good):
    """Sends the model a text that it can only know from a validation or test task."""

    def messages(self, history: Sequence[MetaStep]) -> list[Message]:
        return [MESSAGES[0], {"role": "user", "content": f"I heard a {CANARY}."}]


class Writing(Good):
    def written(self, prompt: str, memory: Any) -> Reflection:
        return super().written(f"{prompt}: a {CANARY}", memory)


@pytest.mark.parametrize(
    ("reflector", "message"),
    [
        (Forgetful, "stopped after meta-step 1 .* meta-step 1 differs: keep everything to remember in `Reflection.mem"),
        (Clairvoyant, "equal histories must give equal reflections.*keep nothing in the reflector between calls"),
        (Random, "equal input must give equal requests"),
        (Unbooked, "of 5 calls 0 were: ask the model by `metagym.models.ask`"),
        (Objects, "`fingerprint` must be a JSON mapping"),
        (Silent, "after a malformed reply `Reflection.problem` must say why"),
        (Rash, "after a malformed reply the old prompt must be kept, got 'I guess.'"),
        (Amnesic, "after a malformed reply the old memory must be kept, got 0"),
        (Spender, "a budget of 0 calls must end a run of 5 with BudgetExceededError"),
        (Peeping, "The reflector plays validation or test tasks"),
        (Telling, "no validation or test task may reach the model, but one did in meta-step 0"),
        (Writing, "it may neither see nor write a text of a validation or test task"),
    ],
)
def test_a_breach_is_named_with_its_remedy(reflector: Any, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        check_reflector(reflector)
