"""ask: every call is booked, whichever model answers, and reserved by an upper bound of its tokens."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metagym.budget import Budget, Ledger
from metagym.errors import BudgetExceededError, ContentFilterError
from metagym.models import Call, Cassette, ask, estimate_tokens
from metagym.models.asking import max_tokens
from metagym.testing import FakeChatModel
from metagym.types import Completion, Message, Usage


def test_a_custom_model_is_booked_by_ask() -> None:
    ledger, model = Ledger(), FakeChatModel(["Action: knock"])
    with ledger.open():
        asyncio.run(ask(model, [{"role": "user", "content": "one two three"}], Call("judge", meta_step=2)))
    assert ledger.spent(role="judge", meta_step=2).usage == Usage(prompt_tokens=3, completion_tokens=2, num_calls=1)


def test_a_custom_model_keeps_to_the_budget() -> None:
    class Brief(FakeChatModel):
        max_reply_tokens = 10

    messages = [{"role": "user", "content": "hello"}]
    bound = max_tokens(messages) + 10  # type: ignore[arg-type]
    with Ledger(Budget(tokens=bound - 1)).open(), pytest.raises(BudgetExceededError):
        asyncio.run(ask(Brief(["hi"]), messages, Call("actor")))  # type: ignore[arg-type]
    with Ledger(Budget(tokens=bound)).open():
        asyncio.run(ask(Brief(["hi"]), messages, Call("actor")))  # type: ignore[arg-type]


def test_a_model_that_raises_is_of_unknown_cost() -> None:
    ledger = Ledger()
    with ledger.open(), pytest.raises(OSError, match="gone"):
        asyncio.run(ask(FakeChatModel([OSError("gone")]), [{"role": "user", "content": "hi"}], Call("actor")))
    assert ledger.unknown[0].reason == "OSError: gone"


def test_a_completion_without_a_count_of_calls_is_one_call() -> None:
    ledger = Ledger()
    with ledger.open():
        asyncio.run(ask(FakeChatModel([Completion(text="x")]), [{"role": "user", "content": "hi"}], Call("actor")))
    assert ledger.spent().usage.num_calls == 1


@pytest.mark.parametrize(
    ("prompt", "reply", "text", "outcome"),
    [
        (10**9, 1, "hi", "unknown"),
        (1, 10**9, "hi", "unknown"),
        (1, 11, "hi", "unknown"),
        (1, 10, "hi", "whole"),
        (1, 400, "x" * 400, "whole"),  # the model ignored its limit, and the reply is there to see
        (1, 401, "x" * 400, "unknown"),
    ],
)
def test_a_count_above_what_was_possible_is_unknown(prompt: int, reply: int, text: str, outcome: str) -> None:
    class Brief(FakeChatModel):
        max_reply_tokens = 10

    ledger, usage = Ledger(), Usage(prompt_tokens=prompt, completion_tokens=reply, num_calls=1)
    messages: list[Message] = [{"role": "user", "content": "hello"}]
    with ledger.open():
        completion = asyncio.run(ask(Brief([Completion(text=text, usage=usage)]), messages, Call("actor")))
    assert len(ledger.unknown) == (outcome == "unknown")
    assert completion.usage == (usage if outcome == "whole" else Usage(num_calls=1))
    assert ledger.spent().max_tokens == (prompt + reply if outcome == "whole" else max_tokens(messages) + 10)


@given(st.lists(st.text(), min_size=1, max_size=5))
def test_the_upper_bound_is_above_the_bytes_and_the_estimate(texts: list[str]) -> None:
    messages: list[Message] = [{"role": "user", "content": text} for text in texts]
    num_bytes = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    assert max_tokens(messages) > num_bytes
    assert max_tokens(messages) > estimate_tokens(messages)


def test_a_refusal_is_kept_for_an_episode_and_asked_again_for_a_reflection(tmp_path: Path) -> None:
    for role, num_asked in (("actor", 1), ("reflector", 2)):
        model = FakeChatModel([ContentFilterError("flagged")])
        with Cassette(tmp_path / role).open():
            for _ in range(2):
                with pytest.raises(ContentFilterError):
                    asyncio.run(ask(model, [{"role": "user", "content": "?"}], Call(role)))
        assert len(model.calls) == num_asked
