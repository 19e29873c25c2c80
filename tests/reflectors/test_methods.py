"""Laws of every method: it keeps the contract, learns on Gates, is short, and leaks nothing."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

import metagym.reflectors
from metagym import optimize
from metagym.envs.gates.demo import GatesDemoActor
from metagym.optional_attributes import describe
from metagym.reflectors import bind, find_method, make_reflector, takes_model
from metagym.reflectors.registry import METHODS
from metagym.reflectors.scripted_model import ScriptedReflectorModel
from metagym.testing import FakeChatModel, check_reflector
from metagym.types import MetaStep
from tests.conftest import MakeGates, make_episode, make_meta_step, make_step, make_task, make_trajectory

OVER_A_MODEL = [name for name in METHODS if takes_model(name)]
LEARN_ON_GATES = sorted(set(OVER_A_MODEL) - {"training_free_grpo_style"})


def spec(name: str, **options: Any) -> dict[str, Any]:
    return {"method": name, **({"model": "demo"} if takes_model(name) else {}), "options": options}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_keeps_the_contract(name: str) -> None:
    check_reflector(find_method(name))


def test_self_judging_keeps_the_contract_too() -> None:
    from metagym.reflectors.reasoning_bank_style import ReasoningBankStyle

    check_reflector(lambda model: ReasoningBankStyle(model, self_judge=True), num_steps=3)


def test_a_stream_without_a_model_keeps_the_contract_too() -> None:
    from metagym.reflectors.memory_stream import MemoryStream

    check_reflector(lambda model: MemoryStream(), num_steps=3)


@pytest.mark.parametrize("name", LEARN_ON_GATES)
def test_prompts_get_better_on_gates(name: str, make_gates: MakeGates) -> None:
    for seed in range(3):
        rewards = optimize(make_gates(), make_reflector(spec(name)), 6, seed=seed).rewards
        assert rewards[0] <= 0.2
        assert rewards[-1] == 1.0


def test_training_free_grpo_learns_on_gates_if_the_actor_varies(make_gates: MakeGates) -> None:
    rewards = [
        optimize(
            make_gates(GatesDemoActor(slip=0.1)), make_reflector(spec("training_free_grpo_style")), 6, seed=seed
        ).rewards
        for seed in range(3)
    ]
    assert max(first for first, *_ in rewards) <= 0.4
    assert min(last for *_, last in rewards) >= 0.6


@pytest.mark.parametrize("name", METHODS)
def test_the_fingerprint_is_json_and_holds_the_model(name: str) -> None:
    fingerprint = describe(make_reflector(spec(name)))
    assert json.loads(json.dumps(fingerprint)) == fingerprint
    if name in OVER_A_MODEL:
        other = find_method(name)(FakeChatModel(["x"]))
        assert describe(other) != fingerprint
        assert make_reflector(spec(name)).scripted  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("reflexion_style", {"num_lessons": 2}),
        ("reflexion_style", {"max_tokens": 500}),
        ("expel_style", {"max_rules": 5}),
        ("expel_style", {"max_examples": 0}),
        ("expel_style", {"example_tokens": 100}),
        ("opro_style", {"num_candidates": 2}),
        ("opro_style", {"max_scored": 5}),
        ("opro_style", {"num_episodes": 1}),
        ("ace_style", {"max_items": 3}),
        ("reasoning_bank_style", {"self_judge": True}),
        ("reasoning_bank_style", {"max_items": 3}),
        ("training_free_grpo_style", {"group_size": 2}),
        ("training_free_grpo_style", {"max_experiences": 3}),
        ("exemplars", {"max_exemplars": 2}),
        ("exemplars", {"show_thoughts": True}),
        ("memory_stream", {"max_items": 3}),
        ("memory_stream", {"episode_tokens": 100}),
    ],
)
def test_an_option_changes_the_fingerprint(name: str, options: dict[str, Any]) -> None:
    assert describe(make_reflector(spec(name, **options))) != describe(make_reflector(spec(name)))


@pytest.mark.parametrize("name", METHODS)
def test_no_task_id_family_split_or_seed_reaches_the_model_or_the_prompt(name: str) -> None:
    def trajectory(number: int, success: bool) -> Any:
        task = make_task(
            f"canary-id-{number}",
            family="canary-family",
            split="canary-split",
            seed=987_654_321,
            digest="canary-digest",
            source="canary-source",
        )
        episode = make_episode("Be brave.", task, seed=123_454_321, arm="canary-arm", repetition=3)
        step = make_step("You knock. The oak gate opens." if success else "You knock. The iron gate stays shut.")
        return make_trajectory(
            [step], episode=episode, success=success, score=float(success), actor_revision="canary-revision"
        )

    batch = [trajectory(number, number % 2 == 0) for number in range(4)]
    asked: list[str] = []
    good = ScriptedReflectorModel()

    class Spy(FakeChatModel):
        async def complete(self, messages: Any, call: Any) -> Any:
            asked.extend(message["content"] for message in messages)
            return await good.complete(messages, call)

    async def replay(prompts: Any, task_ids: Any, *, repetitions: int = 1) -> tuple[MetaStep, ...]:
        return (make_meta_step([item for item in batch for _ in range(repetitions)]),)

    kind = find_method(name)
    reflector = bind(kind(Spy([])) if takes_model(name) else kind(), replay)
    reflection = asyncio.run(reflector.reflect([make_meta_step(batch, index=0)]))
    written = [*asked, reflection.prompt, reflection.analysis, json.dumps(reflection.memory)]
    assert bool(asked) == (name in OVER_A_MODEL)
    for word in ("canary", "987654321", "123454321"):
        assert not [text for text in written if word in text]


@pytest.mark.parametrize("name", METHODS)
def test_a_batch_that_failed_for_infrastructure_reasons_changes_nothing(name: str) -> None:
    failed = [make_trajectory(success=None, score=None, error="down") for _ in range(2)]

    async def replay(prompts: Any, task_ids: Any, *, repetitions: int = 1) -> tuple[MetaStep, ...]:
        return (make_meta_step(failed, reward=None),)

    kind = find_method(name)
    reflector = bind(kind(ScriptedReflectorModel()) if takes_model(name) else kind(), replay)
    reflection = asyncio.run(reflector.reflect([make_meta_step(failed, reward=None)]))
    assert "Be brave." in reflection.prompt or "You walk a road" in reflection.prompt
    if name in ("reflexion_style", "reasoning_bank_style", "training_free_grpo_style"):
        assert reflection.completion is None  # none of these episodes says anything about the agent
        assert reflection.problem == ""


@pytest.mark.parametrize(
    "path", sorted(Path(metagym.reflectors.__file__).parent.glob("*.py")), ids=lambda path: path.stem
)
def test_a_newcomer_can_compare_two_methods_by_reading_two_short_files(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 200
    if path.stem.endswith("_style") or path.stem in ("exemplars", "memory_stream"):
        docstring = text.split('"""')[1]
        assert "arXiv" in docstring
        assert "How ours departs" in docstring
