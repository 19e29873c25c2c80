"""Tools in requests: sent as the server takes them, natively or as text. One question finds out which.

Servers without a parser for calls refuse the field, or pass over it in silence: then the model never sees the tools. So
a client asks its server once for a call of a tool that is described only there.
Sources: documentation and issues of vLLM, SGLang, llama.cpp, Ollama and NIM, 2024 to 2026. The text form is that of the
Hermes models, which Qwen and many others were trained on.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Literal, Protocol

from metagym.errors import ConfigError, ModelError
from metagym.models.chat import Call
from metagym.models.constraint import JSON_MEANS, json_format
from metagym.models.probing import AskedOnce, reply_or_refusal
from metagym.optional_attributes import Extension, describe
from metagym.types import Completion, Message, digest

logger = logging.getLogger(__name__)

Tools = Sequence[Mapping[str, Any]]
"""Schemas, as in the OpenAI protocol."""
Ask = Callable[[Sequence[Message], Mapping[str, Any]], Awaitable[Completion]]
"""Sends a conversation with further fields of the request."""
CALL_START: Final = "<tool_call>"
CALL_END: Final = "</tool_call>"

TEXT_FORM: Final = """\
You may call these tools, each described by one line of JSON:
{tools}

To call a tool, write its name and its arguments as JSON between these marks, and nothing after it:
<tool_call>
{"name": "<name>", "arguments": {"<argument>": "<value>"}}
</tool_call>
You may write several calls, one after another. A reply without a call is your answer."""
"""The tools in the system message of a server that takes no tools; `{tools}` is replaced by their descriptions."""
HELD_FORM: Final = """\
You may call these tools, each described by one line of JSON:
{tools}

Reply with one JSON object. To call a tool: {"name": "<name>", "arguments": {"<argument>": "<value>"}}
To answer, when nothing is left to call: {"answer": "<your answer>"}"""
"""The same if each reply is held to one call or an answer."""
MAX_ANSWER: Final = 400
"""The most characters of an answer if replies are held to their form: small models write without end."""

_PROBE_NAME: Final = "open_gate_7"
PROBE: Final = [
    {
        "type": "function",
        "function": {
            "name": _PROBE_NAME,
            "description": "Open gate 7.",
            "parameters": {"type": "object", "properties": {}},
        },
    }
]
QUESTION: Final[list[Message]] = [{"role": "user", "content": "Call the tool that opens a gate, now."}]


class ToolCallingModel(Protocol):
    """A chat model that sends tools."""

    async def complete(
        self, messages: Sequence[Message], call: Call, *, tools: Tools | None = None, held: bool = False
    ) -> Completion:
        """Return the reply to a conversation in which these tools are offered, `held` to a call or an answer."""


class ModelWithTools(Extension):
    """A chat model that offers tools to itself; everything else is as in the model behind it.

    Conversations are written in the native form, whatever the server takes, so that records and cassettes do not depend
    on it. A model without its own `with_tools` gets them as text.
    """

    keeps_ledger = True

    def __init__(self, model: Any, tools: Tools, *, about: Extension, held: bool = False) -> None:
        self._model, self._tools, self._is_native, self._held = model, tools, about.with_tools is not None, held
        self.max_reply_tokens, self.prices, self.model = about.max_reply_tokens, about.prices, about.model
        self.context_tokens, self.scripted, self.keeps_ledger = about.context_tokens, about.scripted, about.keeps_ledger

    @property
    def fingerprint(self) -> dict[str, Any]:
        """The model's, and the tools."""
        own = describe(self._model)
        held = {"held": True} if self._held else {}
        return {**(own if isinstance(own, dict) else {"kind": own}), "tools": digest(list(self._tools)), **held}

    async def complete(self, messages: Sequence[Message], call: Call) -> Completion:
        """Return the model's reply; see `ChatModel.complete`."""
        if not self._is_native:
            completion: Completion = await self._model.complete(in_text(messages, self._tools), call)
            return completion
        calling: ToolCallingModel = self._model
        return await calling.complete(messages, call, tools=self._tools, held=self._held)


class ToolSender:
    """Sends tools to one server; the first call finds out how it takes them."""

    def __init__(self, sampling: Mapping[str, Any]) -> None:
        self._has_own = "tools" in sampling
        self._means, self._held_means = AskedOnce(), AskedOnce()
        self._refused: set[str] = set()

    def check(self) -> None:
        """Raise ConfigError if the sampling holds its own tools."""
        if self._has_own:
            raise ConfigError("The environment offers its own tools, and sampling holds 'tools'. Remove them there.")

    async def complete(self, messages: Sequence[Message], tools: Tools, ask: Ask, *, held: bool = False) -> Completion:
        """Return the reply to a conversation in which these tools are offered.

        With `held`, the reply is one call that fits its tool, or an answer, if the server obeys JSON schemas. The tools
        are then text, since servers hold no native calls beside answers.
        """
        if not tools:
            return await ask(in_text(messages, ()), {})
        if held and await self._held_means.get(lambda: self._find_held(ask)):
            completion = await self._ask_held(messages, tools, ask)
            if completion is not None:
                return completion
        if await self._means.get(lambda: self._find(ask)) == "text":
            return await ask(in_text(messages, tools), {})
        # `tool_choice` is not sent: "auto" is the default, and some servers refuse the word (NIM).
        return await ask(messages, {"tools": list(tools)})

    async def _ask_held(self, messages: Sequence[Message], tools: Tools, ask: Ask) -> Completion | None:
        """Return the held reply; None if the server cannot hold replies to the schemas of these tools."""
        schema = _held_to(tools)
        name = digest(schema)
        if name in self._refused:
            return None
        held = in_text(messages, tools, held=True)
        reply = await reply_or_refusal(ask(held, schema), lambda: ask(QUESTION, {}))
        if isinstance(reply, ModelError):
            logger.warning("The server refuses the schemas of the tools (%s): replies are read as they come.", reply)
            self._refused.add(name)
            return None
        return reply.model_copy(update={"text": _answer_of(reply.text), "constraint": JSON_MEANS})

    async def _find_held(self, ask: Ask) -> str:
        reply = await reply_or_refusal(ask(QUESTION, _held_to(PROBE)), lambda: ask(QUESTION, {}))
        # The tool and the form of an answer are only in the schema.
        if not isinstance(reply, ModelError) and (_PROBE_NAME in reply.text or _answer_of(reply.text) != reply.text):
            return JSON_MEANS
        logger.warning("The server cannot hold replies to calls: the tools are offered as to any other model.")
        return ""

    async def _find(self, ask: Ask) -> Literal["native", "text"]:
        reply = await reply_or_refusal(ask(QUESTION, {"tools": PROBE}), lambda: ask(QUESTION, {}))
        if isinstance(reply, ModelError):
            logger.warning("The server refuses tools (%s): they are described in the prompt.", reply)
            return "text"
        # A model that writes the call as text was shown the tool; only the server's parser of calls is missing.
        if reply.tool_calls or _PROBE_NAME in reply.text:
            return "native"
        logger.warning("The model called no tool when it was asked to: the tools are described in the prompt.")
        return "text"


def _held_to(tools: Tools) -> dict[str, Any]:
    """Return the field of a request that holds its reply to a call or an answer."""
    return {JSON_MEANS: json_format(reply_schema(tools), strict=False)}


def reply_schema(tools: Tools) -> dict[str, Any]:
    """Return the JSON schema of a call of one of the tools, or of an answer."""
    functions = [tool["function"] for tool in tools]
    arguments = {
        f"arguments-{number}": _with_root(item.get("parameters") or _object(), f"#/$defs/arguments-{number}")
        for number, item in enumerate(functions)
    }
    calls = [
        _object(name={"const": item["name"]}, arguments={"$ref": f"#/$defs/{name}"})
        for item, name in zip(functions, arguments, strict=True)
    ]
    return {"anyOf": [*calls, _object(answer={"type": "string", "maxLength": MAX_ANSWER})], "$defs": arguments}


def _with_root(schema: Any, root: str) -> Any:
    """Return a schema that is now at `root` of another one: its references point to its own definitions.

    >>> _with_root({"items": {"$ref": "#/$defs/Line"}}, "#/$defs/order")
    {'items': {'$ref': '#/$defs/order/$defs/Line'}}
    """
    if isinstance(schema, list):
        return [_with_root(item, root) for item in schema]
    if not isinstance(schema, dict):
        return schema
    moved = {name: _with_root(item, root) for name, item in schema.items()}
    target = schema.get("$ref")
    return moved | {"$ref": root + target[1:]} if isinstance(target, str) and target.startswith("#") else moved


def _object(**fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": [*fields], "additionalProperties": False}


def _answer_of(text: str) -> str:
    """Return the answer that a held reply gives, else the reply.

    >>> _answer_of('{"answer": "It is done."}'), _answer_of('{"name": "pwd", "arguments": {}}')
    ('It is done.', '{"name": "pwd", "arguments": {}}')
    """
    try:
        reply = json.loads(text)
    except (ValueError, RecursionError):
        return text
    answer = reply.get("answer") if isinstance(reply, dict) else None
    return answer if isinstance(answer, str) else text


def in_text(messages: Sequence[Message], tools: Tools, *, held: bool = False) -> list[Message]:
    """Return a conversation with its tools, calls and results as plain text; `held` is the form of held replies."""
    described = "\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in tools)
    form = (HELD_FORM if held else TEXT_FORM).replace("{tools}", described) if tools else ""
    written: list[Message] = []
    for number, message in enumerate(messages):
        text, role = message["content"], message["role"]
        if number == 0 and role == "system" and form:
            text = f"{text}\n\n{form}"
        calls = message.get("tool_calls", ())
        # A call that was cut off is no answer.
        if held and role == "assistant" and not calls and not text.startswith("{"):
            text = json.dumps({"answer": text}, ensure_ascii=False)
        for called in calls:
            function = called["function"]
            call = f'{{"name": {json.dumps(function["name"])}, "arguments": {function["arguments"]}}}'
            text = (f"{text}\n{call}" if held else f"{text}\n{CALL_START}\n{call}\n{CALL_END}").lstrip()
        if role == "tool":
            role, text = "user", f"<tool_response>\n{text}\n</tool_response>"
        written.append({"role": role, "content": text})
    return written
