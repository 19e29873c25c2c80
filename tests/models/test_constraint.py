"""A reply is held to its form by the means that the server has; the means is found by asking once."""

from __future__ import annotations

import asyncio
import json
import pickle
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metagym.errors import ConfigError, ModelError
from metagym.models import Call, ClientConfig, OpenAIChatModel, ask
from metagym.models.constraint import FIELDS, JSON_MEANS, PROBE, ReplyForm, action_in_json
from metagym.testing import FakeOpenAIServer, ServerReply, ServerRequest
from metagym.types import Completion
from tests.conftest import Serve

MESSAGES: Any = [{"role": "user", "content": "A gate of oak."}]
FORM = ReplyForm(("push", "knock twice"))
HELD = {True: json.dumps({"thought": "hm", "action": "push"}), False: "Thought: hm\nAction: push"}


UNKNOWN = ServerReply("unrecognized request argument", status=400)


def server_with(*known: str, refuses: ServerReply | None = None) -> Any:
    """Return what a server replies that obeys the fields `known`, and ignores or refuses the others."""

    def respond(request: ServerRequest) -> str | ServerReply:
        fields = [name for name in FIELDS if name in request.body]
        for name in fields:
            if name in known:
                is_json = name == JSON_MEANS
                if PROBE.actions[0] not in json.dumps(request.body[name]):
                    return HELD[is_json]
                return json.dumps({"action": PROBE.actions[0]}) if is_json else PROBE.actions[0]
        if fields and refuses:
            return refuses
        return "Hello! I push the gate."

    return respond


def play(server: FakeOpenAIServer, num_calls: int = 3, **options: Any) -> list[Completion]:
    model = OpenAIChatModel("m", base_url=server.base_url, **options)

    async def run() -> list[Completion]:
        try:
            held = model.held_to(FORM)
            return await asyncio.gather(*(ask(held, MESSAGES, Call("actor", seed=seed)) for seed in range(num_calls)))
        finally:
            await model.aclose()

    return asyncio.run(run())


@pytest.mark.parametrize("refuses", [None, UNKNOWN])
@pytest.mark.parametrize("means", FIELDS)
def test_the_means_is_found_by_asking_once(serve: Serve, means: str, refuses: ServerReply | None) -> None:
    server = serve(server_with(means, refuses=refuses))
    replies = play(server)
    assert {(reply.constraint, reply.text) for reply in replies} == {(means, HELD[means == JSON_MEANS])}
    probes = [request for request in server.requests if PROBE.actions[0] in json.dumps(request.body)]
    assert len(probes) == 1 + [*FIELDS].index(means)  # in order, and once for three calls
    assert len(server.requests) == len(probes) + 3


def test_a_server_without_any_means_is_asked_without(serve: Serve) -> None:
    server = serve(server_with())
    replies = play(server)
    assert {(reply.constraint, reply.text) for reply in replies} == {("", "Hello! I push the gate.")}
    assert len(server.requests) == len(FIELDS) + 3
    assert not any(name in request.body for request in server.requests[-3:] for name in FIELDS)


def test_a_server_that_is_away_is_not_taken_for_one_without_means(serve: Serve) -> None:
    obey, refusals = server_with("grammar"), [ServerReply("later", status=503)] * 2
    server = serve(lambda request: refusals.pop() if refusals else obey(request))
    with pytest.raises(ModelError, match="503"):
        play(server, 1, max_retries=0)
    assert [reply.constraint for reply in play(server, 1, client=ClientConfig(first_pause_s=0))] == ["grammar"]


@pytest.mark.parametrize(
    "refusal",
    [
        ServerReply("internal error", status=500),
        ServerReply("not implemented", status=501),
        ServerReply(raw=json.dumps({"error": {"message": "bad grammar"}})),
    ],
)
def test_a_field_at_which_a_server_fails_is_refused_if_it_answers_without(serve: Serve, refusal: ServerReply) -> None:
    server = serve(server_with([*FIELDS][-1], refuses=refusal))
    (reply,) = play(server, 1, client=ClientConfig(first_pause_s=0, breaker_failures=4))
    assert reply.constraint == [*FIELDS][-1]


def test_a_server_that_fails_at_everything_has_refused_no_field(serve: Serve) -> None:
    obey, failures = server_with("grammar"), [ServerReply("internal error", status=500)] * 6
    server = serve(lambda request: failures.pop() if failures else obey(request))
    model = {"client": ClientConfig(first_pause_s=0)}
    with pytest.raises(ModelError, match="500"):
        play(server, 1, **model)
    assert [reply.constraint for reply in play(server, 1, **model)] == ["grammar"]


def test_a_constraint_of_ones_own_is_not_overridden(serve: Serve) -> None:
    with pytest.raises(ConfigError, match=r"sampling\['grammar'\] to another. Remove it, or set constrain='off'"):
        play(serve("x"), sampling={"grammar": "root ::= [a-z]"})


def test_the_form_is_part_of_the_fingerprint_and_the_model_travels() -> None:
    model = OpenAIChatModel("m", base_url="http://localhost:1/v1")
    held = model.held_to(FORM)
    assert held.fingerprint == {**model.fingerprint, "form": held.fingerprint["form"]}
    assert held.fingerprint["form"] != model.held_to(ReplyForm(("pull",))).fingerprint["form"]
    assert pickle.loads(pickle.dumps(held)).fingerprint == held.fingerprint
    assert (held.max_reply_tokens, held.keeps_ledger) == (model.max_reply_tokens, True)


LINES = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(st.lists(LINES, min_size=1, max_size=4), LINES)
def test_the_expression_takes_each_action_and_no_other(actions: list[str], other: str) -> None:
    form = ReplyForm(tuple(actions))
    for action in actions:
        assert re.fullmatch(form.regex, f"Thought: why not?\nAction: {action}")
        assert re.fullmatch(form._replace(max_thought=None).regex, action)
    assert bool(re.fullmatch(form.regex, f"Thought: x\nAction: {other}")) == (other in actions)
    assert not re.fullmatch(form.regex, f"Thought: {'x' * 401}\nAction: {actions[0]}")
    assert not re.fullmatch(form.regex, f"Action: {actions[0]}")


def test_the_grammar_quotes_what_it_has_to() -> None:
    form = ReplyForm(('say "no"', "back\\slash"), 60)
    assert form.grammar == (
        'root ::= "Thought: " [^\\r\\n]{1,60} "\\nAction: " action\naction ::= "say \\"no\\"" | "back\\\\slash"'
    )
    assert ReplyForm((), None).grammar == "root ::= action\naction ::= [^\\r\\n]{1,200}"


def test_the_schema_wants_a_thought_and_one_of_the_actions() -> None:
    action = {"type": "string", "enum": ["push", "knock twice"]}
    properties = {"thought": {"type": "string"}, "action": action}
    expected = {"type": "object", "properties": properties, "required": ["thought", "action"]}
    assert FORM.schema == {**expected, "additionalProperties": False}
    assert ReplyForm((), None).schema["properties"] == {"action": {"type": "string"}}


@pytest.mark.parametrize("text", ["push", "[]", '{"thought": "x"}', '{"action": 1}', "[" * 100_000])
def test_what_is_not_such_an_object_holds_no_action(text: str) -> None:
    assert action_in_json(text) == ("", None)
