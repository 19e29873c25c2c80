"""What each provider of docs/providers.md takes and refuses: our requests pass by its rules, as it documents them.

Each provider is played by a server on loopback, which refuses what the provider refuses, in its words. Sources are the
providers' documentation, their code, and reports of their users, 2024 to 2026.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest

from metagym.testing import FakeOpenAIServer, ServerReply, ServerRequest
from metagym.types import StopReason
from tests.adapter.scales import ScalesMetaEnv
from tests.conftest import ROOT, Serve
from tests.models.calling import CALL, complete, model_at

STOPPING = CALL._replace(stop=("\nObservation:",))
GOOD = "Thought: iron.\nAction: push"
PAGE = ROOT / "docs" / "providers.md"
FIELDS = {"model", "messages", "max_tokens", "seed", "stop", "stream", "stream_options", "tools"}
"""What is sent at most, if `sampling` asks for nothing."""
SIGNATURE = {"extra_content": {"google": {"thought_signature": "s1"}}}

Refuse = Callable[[dict[str, Any]], ServerReply | None]


class Provider(NamedTuple):
    """A provider's rules, and what our requests come to."""

    refuse: Refuse = lambda body: None
    num_refused: int = 0
    """Refusals on the way to the first reply with a stop string."""
    takes_tools: bool = True
    extra: Mapping[str, Any] = {}
    """Further fields of its calls, which it wants back."""
    reply: Mapping[str, Any] = {}
    """How it replies."""


def refused(message: str, status: int = 400, **error: Any) -> ServerReply:
    return ServerReply(message, status=status, error=error)


def openai(body: dict[str, Any]) -> ServerReply | None:
    if "max_tokens" in body:
        text = (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        )
        return refused(text, param="max_tokens", code="unsupported_parameter")
    if "stop" in body:
        text = "Unsupported parameter: 'stop' is not supported with this model."
        return refused(text, param="stop", code="unsupported_parameter")
    return None


def openai_behind_litellm(body: dict[str, Any]) -> ServerReply | None:
    reply = openai(body)
    if reply is None:
        return None
    return refused(f"litellm.BadRequestError: OpenAIException - {reply.text}", type="None", param="None", code="400")


def no_tools(message: str, status: int = 400) -> Refuse:
    return lambda body: refused(message, status) if "tools" in body else None


def anthropic(body: dict[str, Any]) -> ServerReply | None:
    contents = [item["content"] for item in body["messages"] if item["role"] != "tool"]
    if any(text is not None and not text.strip() for text in contents):
        return refused("messages: text content blocks must be non-empty")
    return None


def gemini(body: dict[str, Any]) -> ServerReply | None:
    if unknown := [name for name in ("seed", "logit_bias") if name in body]:
        texts = [f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.' for name in unknown]
        error = {"code": 400, "message": "\n".join(texts), "status": "INVALID_ARGUMENT"}
        return ServerReply(raw=json.dumps([{"error": error}]), status=400)
    calls = [call for item in body["messages"] for call in item.get("tool_calls", ())]
    if any("extra_content" not in call for call in calls):
        return refused("Function call is missing a thought_signature in functionCall parts.")
    return None


def mistral(body: dict[str, Any]) -> ServerReply | None:
    wrong = [name for name in ("seed", "stream_options") if name in body]
    if wrong:
        parts = [
            {"type": "extra_forbidden", "loc": ["body", n], "msg": "Extra inputs are not permitted"} for n in wrong
        ]
        return ServerReply(raw=json.dumps({"object": "error", "message": {"detail": parts}}), status=422)
    ids = [call["id"] for item in body["messages"] for call in item.get("tool_calls", ())]
    if not all(re.fullmatch(r"[a-zA-Z0-9]{9}", name) for name in ids):
        return refused("Tool call id was wrong but must be a-z, A-Z, 0-9, with a length of 9.")
    return None


def litellm(body: dict[str, Any]) -> ServerReply | None:
    if "seed" in body:
        text = "litellm.UnsupportedParamsError: anthropic does not support parameters: ['seed'], for model=m."
        return refused(text, type="None", param="None", code="400")
    return None


BEHIND_LITELLM = "LiteLLM, before a newer model of OpenAI"
PROVIDERS: dict[str, Provider] = {
    "OpenAI": Provider(openai, num_refused=2),
    BEHIND_LITELLM: Provider(openai_behind_litellm, num_refused=2),
    "vLLM": Provider(),
    "vLLM without --enable-auto-tool-choice": Provider(
        no_tools('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'),
        takes_tools=False,
    ),
    "SGLang": Provider(reply={"reasoning": "They look alike."}),
    "llama.cpp": Provider(),
    "llama.cpp without --jinja": Provider(no_tools("tools param requires --jinja flag", 500), takes_tools=False),
    "Ollama": Provider(),
    "Ollama, a model without tools": Provider(no_tools("llama3 does not support tools"), takes_tools=False),
    "Anthropic": Provider(anthropic),
    "Gemini": Provider(gemini, num_refused=1, extra=SIGNATURE),
    "OpenRouter": Provider(reply={"num_comments": 2}),
    "OpenRouter, a model without tools": Provider(
        no_tools("No endpoints found that support tool use. To learn more about provider routing, visit the docs", 404),
        takes_tools=False,
    ),
    "Mistral": Provider(mistral, num_refused=1),
    "LiteLLM": Provider(litellm, num_refused=1),
}


def call(name: str, number: int, provider: Provider, **arguments: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"id": f"abcdefgh{number}", "type": "function", "function": function, **provider.extra}


def conversation_problem(body: dict[str, Any]) -> str:
    """Return what all of these providers would refuse in a conversation."""
    waiting: list[str] = []
    for message in body["messages"]:
        if message["role"] == "tool":
            if message["tool_call_id"] not in waiting:
                return "a result without its call"
            waiting.remove(message["tool_call_id"])
        elif waiting:
            return "a call without its result"
        waiting += [item["id"] for item in message.get("tool_calls", ())]
        if message.get("content") is None and not message.get("tool_calls"):
            return "a message of nothing"
    return ""


def played_by(provider: Provider) -> Callable[[ServerRequest], ServerReply]:
    """Reply as a model behind the provider: it weighs both parcels in one reply, then names one."""

    def respond(request: ServerRequest) -> ServerReply:
        body = request.body
        assert {*body} <= FIELDS | {"max_completion_tokens"}
        if problem := conversation_problem(body):
            return refused(problem)
        if (refusal := provider.refuse(body)) is not None:
            return refusal
        last = body["messages"][-1]["content"]
        if "opens a gate" in last:
            calls = [call("open_gate_7", 0, provider)]
        elif "Two parcels" in last:
            calls = [call("weigh", n, provider, parcel=name) for n, name in enumerate("ab")]
        else:
            return ServerReply(GOOD if "A door." in last else "b", **provider.reply)
        if "tools" in body:
            return ServerReply(tool_calls=calls, finish_reason="tool_calls", **provider.reply)
        texts = (f'<tool_call>{{"name": "weigh", "arguments": {{"parcel": "{name}"}}}}</tool_call>' for name in "ab")
        return ServerReply("\n".join(texts), **provider.reply)

    return respond


def play(server: FakeOpenAIServer) -> Any:
    actor = {"model": "m", "base_url": server.base_url, "client": {"first_pause_s": 0.001}, "max_retries": 0}
    with ScalesMetaEnv(actor, episodes_per_step=1, max_steps=8) as env:
        env.reset(seed=0)
        return env.step("Weigh them.")[0][0]


@pytest.mark.parametrize("name", ["OpenAI", "Anthropic", "Gemini", "OpenRouter", "Mistral", "LiteLLM", BEHIND_LITELLM])
def test_what_a_provider_refuses_is_left_out_after_one_refusal_for_each_field(serve: Serve, name: str) -> None:
    server = serve(played_by(PROVIDERS[name]))
    model = model_at(server, max_retries=0)
    assert [complete(model, call=STOPPING).text for _ in range(2)] == [GOOD, GOOD]
    assert model.ledger.spent().num_refused == PROVIDERS[name].num_refused == len(server.requests) - 2


@pytest.mark.slow
@pytest.mark.parametrize("name", PROVIDERS)
def test_an_episode_with_tools_passes_the_providers_rules(serve: Serve, name: str) -> None:
    provider = PROVIDERS[name]
    server = serve(played_by(provider))
    trajectory = play(server)
    assert trajectory.stop_reason == StopReason.TERMINATED
    assert [step.command for step in trajectory.steps[:2]] == [
        '{"name": "weigh", "arguments": {"parcel": "a"}}',
        '{"name": "weigh", "arguments": {"parcel": "b"}}',
    ]
    assert trajectory.num_invalid == 0
    assert ("tools" in server.requests[-1].body) == provider.takes_tools


def test_a_seed_that_the_user_asked_for_is_not_left_out_in_silence(serve: Serve) -> None:
    from metagym.errors import ModelError

    server = serve(played_by(PROVIDERS["Gemini"]))
    with pytest.raises(ModelError, match='Unknown name "seed"'):
        complete(model_at(server, max_retries=0, sampling={"seed": 7}))


def test_the_page_names_each_provider_and_says_what_was_asked() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [name for name in PROVIDERS if name.split(",")[0].split(" without")[0] not in page] == []
    assert [name for name in FIELDS if f"`{name}`" not in page] == []
