"""A conversation that does not fit: the goal, the first and the last observation stay, and the roles alternate."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metagym.actor import ChatActor
from metagym.actor.chat import fit_messages
from metagym.errors import ConfigError
from metagym.models.asking import estimate_tokens
from metagym.testing import FakeChatModel
from metagym.types import Action, Completion, Message, Observation, Step, Usage
from tests.conftest import make_episode


def conversation(num_turns: int, size: int = 40) -> list[Message]:
    messages: list[Message] = [{"role": "system", "content": "S" * size}]
    for turn in range(num_turns):
        messages.append({"role": "user", "content": f"observation {turn} ".ljust(size, ".")})
        messages.append({"role": "assistant", "content": f"reply {turn} ".ljust(size, ".")})
    messages.append({"role": "user", "content": f"observation {num_turns} ".ljust(size, ".")})
    return messages


def test_a_conversation_that_fits_is_unchanged() -> None:
    messages = conversation(5)
    assert fit_messages(messages, estimate_tokens(messages)) == messages


def test_the_oldest_turns_after_the_first_observation_are_left_out_and_counted() -> None:
    messages = conversation(6)
    cut = fit_messages(messages, estimate_tokens(messages) - 40)
    text = cut[1]["content"]
    assert text.startswith("observation 0")
    assert "[3 turns are left out here.]\n\nobservation 3" in text
    assert cut[2:] == messages[8:]  # the reply to observation 3, and all that follows


def test_turns_are_left_out_several_at_once_so_that_a_prefix_cache_holds() -> None:
    whole, limit = conversation(60), estimate_tokens(conversation(12))
    sent = [fit_messages(whole[: 2 * turn + 2], limit) for turn in range(61)]
    assert all(estimate_tokens(messages) <= limit + 10 for messages in sent)  # and the note of what is missing
    anew = [later[: len(before)] != before for before, later in pairwise(sent)]
    assert anew[:12] == [False] * 12
    assert sum(anew[12:]) == 12, "every fourth turn"


@given(num_turns=st.integers(0, 20), limit=st.integers(0, 500), counted=st.integers(1, 400))
def test_system_first_and_last_message_stay_and_the_roles_alternate(num_turns: int, limit: int, counted: int) -> None:
    messages = conversation(num_turns)
    cut = fit_messages(messages, limit, known=(100, counted))
    assert cut[0] == messages[0]
    assert cut[1]["content"].startswith(messages[1]["content"])
    assert cut[-1]["content"].endswith(messages[-1]["content"])
    assert [message["role"] for message in cut[1:]] == ["user", "assistant"] * (len(cut) // 2 - 1) + ["user"]
    if estimate_tokens(messages) * counted / 100 > limit and num_turns:
        assert len(cut) < len(messages)


def test_the_servers_count_corrects_the_estimate() -> None:
    messages = conversation(6)
    limit = estimate_tokens(messages)
    assert fit_messages(messages, limit, known=(100, 100)) == messages
    assert len(fit_messages(messages, limit, known=(100, 150))) < len(messages)


def step(turn: int, prompt_tokens: int) -> Step:
    completion = Completion(text="Action: go", usage=Usage(prompt_tokens=prompt_tokens, num_calls=1))
    return Step(
        observation=Observation(text=f"Field {turn}. " + "x" * 200, goal="Reach the end."),
        action=Action(text="go", completion=completion),
        command="go",
        is_valid=True,
        reward=0.0,
    )


def test_an_actor_with_a_context_limit_keeps_goal_and_first_observation() -> None:
    model = FakeChatModel(["Action: go"])
    model.max_reply_tokens = 100  # type: ignore[attr-defined]
    actor = ChatActor(model, context_tokens=600)
    steps = [step(turn, prompt_tokens=120) for turn in range(20)]
    asyncio.run(actor.act(make_episode("Be brave."), steps, Observation(text="Field 20.", goal="Reach the end.")))
    [(messages, _)] = model.calls
    assert messages[1]["content"].startswith("Goal: Reach the end.\n\nField 0.")
    assert "turns are left out here.]" in messages[1]["content"]
    assert messages[-1]["content"] == "Field 20."
    assert estimate_tokens(messages) < 600 - 100
    assert len(messages) > 3


def test_a_context_limit_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="context_tokens must be positive, or None for no limit, got 0"):
        ChatActor(FakeChatModel([""]), context_tokens=0)
