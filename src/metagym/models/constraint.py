"""Holds a reply to a form by the server's own means: a grammar, a regular expression, or a JSON schema.

Servers name the field differently, and most ignore a field that they do not know. So a client asks its server once for
a word that no model says by itself, by each means in turn, and keeps the first that works.
Sources: the documentation of llama.cpp (GBNF), vLLM 0.9 and 0.12 (structured outputs), SGLang and OpenAI.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from metagym.errors import ConfigError, ModelError
from metagym.models.chat import Call
from metagym.models.probing import AskedOnce, reply_or_refusal
from metagym.optional_attributes import Extension
from metagym.types import Completion, Message, digest

logger = logging.getLogger(__name__)

MAX_THOUGHT: Final = 400
"""The most characters of a thought."""
_MAX_ACTION: Final = 200
"""The most characters of an action, if there is no list of actions."""
_SPECIAL = re.compile(r"([\\.^$*+?{}\[\]()|/])")


class ReplyForm(NamedTuple):
    """The form of a reply: a thought on one line if it is asked for, then one action."""

    actions: tuple[str, ...] = ()
    """The actions to choose from; empty if any line will do."""
    max_thought: int | None = MAX_THOUGHT
    """The most characters of the thought; None for the action alone."""

    @property
    def grammar(self) -> str:
        """The form as a grammar in GBNF."""
        action = " | ".join(map(_quoted, self.actions)) or f"[^\\r\\n]{{1,{_MAX_ACTION}}}"
        head = "" if self.max_thought is None else f'"Thought: " [^\\r\\n]{{1,{self.max_thought}}} "\\nAction: " '
        return f"root ::= {head}action\naction ::= {action}"

    @property
    def regex(self) -> str:
        """The form as a regular expression, in the part of the syntax that all engines share."""
        action = "|".join(_SPECIAL.sub(r"\\\1", action) for action in self.actions) or f"[^\\r\\n]{{1,{_MAX_ACTION}}}"
        head = "" if self.max_thought is None else f"Thought: [^\\r\\n]{{1,{self.max_thought}}}\\nAction: "
        return f"{head}({action})"

    @property
    def schema(self) -> dict[str, Any]:
        """The form as a JSON schema of an object with a thought and an action."""
        action = {"type": "string", "enum": list(self.actions)} if self.actions else {"type": "string"}
        fields = {"action": action} if self.max_thought is None else {"thought": {"type": "string"}, "action": action}
        return {"type": "object", "properties": fields, "required": [*fields], "additionalProperties": False}


def json_format(schema: Mapping[str, Any], *, strict: bool) -> dict[str, Any]:
    """Return a request's `response_format` for a JSON schema; `strict` asks for the part of JSON Schema of OpenAI."""
    return {"type": "json_schema", "json_schema": {"name": "reply", "strict": strict, "schema": schema}}


FIELDS: Final[Mapping[str, Callable[[ReplyForm], Any]]] = {
    "grammar": lambda form: form.grammar,  # llama.cpp
    "structured_outputs": lambda form: {"regex": form.regex},  # vLLM from 0.12 on
    "guided_regex": lambda form: form.regex,  # vLLM before
    "regex": lambda form: form.regex,  # SGLang
    "response_format": lambda form: json_format(form.schema, strict=True),  # OpenAI, and many others
}
"""The means, in the order in which they are tried: the field of a request, and its value for a form."""
JSON_MEANS: Final = "response_format"
"""The means whose replies are JSON."""

PROBE: Final = ReplyForm(("gate-7-metagym",), None)
QUESTION: Final[list[Message]] = [{"role": "user", "content": "Say hello."}]


def read_constrain(constrain: str) -> bool:
    """Return whether an actor's `constrain` asks for replies that are held to their form."""
    if constrain not in ("auto", "off"):
        raise ConfigError(f"constrain must be 'auto' or 'off', got {constrain!r}.")
    return constrain == "auto"


class HoldingModel(Protocol):
    """A chat model that can hold its reply to a form."""

    async def complete(self, messages: Sequence[Message], call: Call, *, form: ReplyForm | None = None) -> Completion:
        """Return the reply, held to `form` if the server can."""


class HeldModel(Extension):
    """A chat model whose replies are held to a form; everything else is as in the model behind it."""

    keeps_ledger = True

    def __init__(self, model: Any, form: ReplyForm) -> None:
        self._model, self._form = model, form
        self.max_reply_tokens, self.prices, self.model = model.max_reply_tokens, model.prices, model.model
        self.context_tokens = model.context_tokens

    @property
    def fingerprint(self) -> dict[str, Any]:
        """The model's, and the form."""
        return {**self._model.fingerprint, "form": digest(list(self._form))}

    async def complete(self, messages: Sequence[Message], call: Call) -> Completion:
        """Return the model's reply; see `ChatModel.complete`."""
        holding: HoldingModel = self._model
        return await holding.complete(messages, call, form=self._form)


class Constrainer:
    """Knows by which means a server holds a reply to a form; the first call finds it out."""

    def __init__(self, sampling: Mapping[str, Any], *, means: str | None = None) -> None:
        self._own = sorted(sampling.keys() & {*FIELDS, "tools"})
        self._means = AskedOnce(means)

    def check(self) -> None:
        """Raise ConfigError if the sampling holds its own constraint: servers obey only one."""
        if self._own:
            raise ConfigError(
                f"constrain='auto' holds replies to a form, and sampling[{self._own[0]!r}] to another. Remove it, or "
                "set constrain='off'."
            )

    async def find(self, ask: Callable[[Mapping[str, Any]], Awaitable[Completion]]) -> str:
        """Return the means; empty if the server has no such means. `ask` sends the probe with further fields."""
        return await self._means.get(lambda: self._try_all(ask))

    async def _try_all(self, ask: Callable[[Mapping[str, Any]], Awaitable[Completion]]) -> str:
        for means, value in FIELDS.items():
            reply = await reply_or_refusal(ask({means: value(PROBE)}), lambda: ask({}))
            if isinstance(reply, ModelError):
                continue
            action = action_in_json(reply.text)[1] if means == JSON_MEANS else reply.text
            if action is not None and action.strip() == PROBE.actions[0]:
                logger.info("The server holds replies to their form by %r.", means)
                return means
        logger.warning("The server cannot hold replies to their form; they are read as they come.")
        return ""


def action_in_json(text: str) -> tuple[str, str | None]:
    """Return the thought and the action of a reply in JSON; None if it is not such a reply."""
    try:
        reply = json.loads(text)
    except (ValueError, RecursionError):
        return "", None
    if not isinstance(reply, dict) or not isinstance(reply.get("action"), str):
        return "", None
    return str(reply.get("thought", "")), reply["action"]


def _quoted(text: str) -> str:
    """Return the text as a literal of GBNF."""
    for sign, escape in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        text = text.replace(sign, escape)
    return f'"{text}"'
