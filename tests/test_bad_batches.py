"""A batch in which everything went wrong alike is reported, with the remedy; one sound reply is enough to go on."""

from __future__ import annotations

import json
from typing import Any

import pytest

import metagym
from metagym.errors import BadBatchError
from metagym.testing import ServerReply, ServerRequest
from tests.conftest import MakeGates, Serve

CALL = {"id": "a", "type": "function", "function": {"name": "push", "arguments": "{}"}}
CUT, EMPTY, FILTERED = "every reply was cut off", "every reply was empty", "content filter stopped every reply"
ALIKE = {
    "cut off": (ServerReply("Thought: well", finish_reason="length"), CUT),
    "cut off, as Anthropic says it": (ServerReply("Thought: well", finish_reason="max_tokens"), CUT),
    "cut off, as Gemini says it": (ServerReply("Thought: well", finish_reason="MAX_TOKENS"), CUT),
    "cut off, as Mistral says it": (ServerReply("Action: push", finish_reason="model_length"), CUT),
    "cut off in the reasoning": (ServerReply("<think>well", finish_reason="length"), CUT),
    "empty": (ServerReply(""), EMPTY),
    "white space": (ServerReply(" \n\t "), EMPTY),
    "reasoning alone": (ServerReply("", reasoning="Iron?"), EMPTY),
    "filtered": (ServerReply("Thou", finish_reason="content_filter"), FILTERED),
    "filtered, as Gemini says it": (ServerReply("", finish_reason="SAFETY"), FILTERED),
    "filtered, as Zhipu says it": (ServerReply("", finish_reason="sensitive"), FILTERED),
    "no action": (ServerReply("I push the gate."), r"no action was valid, as in the first: \"Your reply holds no line"),
    "two actions": (ServerReply("Action: push\nAction: wait"), "no action was valid, as in the first"),
    "no command": (ServerReply("Action: fly"), "no action was valid, as in the first: 'fly'"),
    "tools": (ServerReply("", finish_reason="tool_calls", tool_calls=[CALL]), r"no action was valid.*calls a tool"),
    "overflow": (ServerReply("prompt is too long: 9 tokens > 8 maximum", status=400), "did not fit into the model's"),
    "overflow, by its code": (ServerReply("no", status=400, error={"code": "context_length_exceeded"}), "did not fit"),
    "refused": (ServerReply("no", status=400, error={"code": "content_filter"}), "filter refused the first request"),
    "refused, as OpenAI says it": (
        ServerReply("rejected as a result of our safety system", status=400),
        "filter refused the first request",
    ),
}


def optimise(make_gates: MakeGates, server: Any, **options: Any) -> Any:
    client = {"first_pause_s": 0.0}
    actor = {"model": "m", "base_url": server.base_url, "client": client}
    env = make_gates(actor, episodes_per_step=3, max_steps=2, **options)
    return metagym.optimize(env, lambda history: history[-1].prompt, num_steps=1)


@pytest.mark.parametrize(("reply", "message"), ALIKE.values(), ids=ALIKE)
def test_a_batch_that_went_wrong_alike_stops_a_loop(
    serve: Serve, make_gates: MakeGates, reply: ServerReply, message: str
) -> None:
    with pytest.raises(BadBatchError, match=message) as raised:
        optimise(make_gates, serve(reply))
    assert raised.value.meta_step is not None  # what was played is kept


@pytest.mark.parametrize("name", ["cut off", "empty", "filtered", "tools", "overflow", "refused"])
def test_who_wants_it_goes_on(serve: Serve, make_gates: MakeGates, name: str) -> None:
    assert optimise(make_gates, serve(ALIKE[name][0]), allow_bad_batches=True).rewards == (0.0,)


MIXED = {
    "a first request too long or refused": (("overflow", "refused"), "too long for the model, or refused"),
    "cut off or empty": (("cut off", "empty"), "no action was valid"),
    "filtered or no command": (("filtered", "no command"), "no action was valid"),
}


@pytest.mark.parametrize(("names", "message"), MIXED.values(), ids=MIXED)
def test_a_batch_without_one_valid_action_stops_a_loop_though_the_reasons_differ(
    serve: Serve, make_gates: MakeGates, names: tuple[str, str], message: str
) -> None:
    server = serve(lambda request: ALIKE[names[request.number % 2]][0])
    with pytest.raises(BadBatchError, match=message):
        optimise(make_gates, server)


def test_a_refusal_in_a_field_of_its_own_is_quoted(serve: Serve, make_gates: MakeGates) -> None:
    message = {"role": "assistant", "content": None, "refusal": "I cannot help with gates."}
    raw = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    with pytest.raises(BadBatchError, match="no action was valid, as in the first"):
        optimise(make_gates, serve(ServerReply(raw=raw)))


@pytest.mark.parametrize("name", ["cut off", "empty", "filtered", "no action", "tools", "overflow", "refused"])
def test_one_sound_reply_is_enough(serve: Serve, make_gates: MakeGates, name: str) -> None:
    def respond(request: ServerRequest) -> ServerReply:
        return ServerReply("Action: push") if request.number == 0 else ALIKE[name][0]

    assert len(optimise(make_gates, serve(respond)).rewards) == 1
