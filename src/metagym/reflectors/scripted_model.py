"""A scripted chat model for Gates that answers each method's request in its own format: no key, no network.

It goes by the reply form that the request asks for, so that a reflector of yours which asks for one of these forms is
answered as well. What it writes it takes from the request alone: which way opened which gate, and which rules
(`when the gate is iron, push`) stand there already. It is no language model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from metagym.errors import ConfigError
from metagym.models import Call
from metagym.reflectors.scripted_replies import FORMATS, read_request
from metagym.types import Completion, Message, Usage

Reply = Literal["good", "malformed", "truncated"]


class ScriptedReflectorModel:
    """Answers reflectors' requests on Gates: `make_reflector({"method": "ace_style", "model": "demo"})` is over one.

    `reply="malformed"` answers in none of the forms, `reply="truncated"` in the right one, cut off in the middle.

    >>> import gymnasium, metagym
    >>> from metagym.reflectors.expel_style import ExpelStyle
    >>> with gymnasium.make("MetaGym/Gates-v0", actor="demo") as env:
    ...     result = metagym.optimize(env, ExpelStyle(ScriptedReflectorModel()), 6, seed=1)
    >>> result.rewards[-1] > result.rewards[0]
    True
    """

    scripted = True
    max_reply_tokens = 2_000
    """No reply is as long; a budget in tokens is kept by it."""

    def __init__(self, reply: Reply = "good") -> None:
        if reply not in ("good", "malformed", "truncated"):
            raise ConfigError(f"reply must be 'good', 'malformed' or 'truncated', got {reply!r}.")
        self.reply = reply
        self.fingerprint = {"kind": "ScriptedReflectorModel", "reply": reply}

    async def complete(self, messages: Sequence[Message], call: Call) -> Completion:
        """Return the reply.

        Raises:
            ConfigError: the request asks for a form that is not known here.
        """
        instructions, text = messages[0]["content"], messages[-1]["content"]
        writer = next((write for sign, write in FORMATS.items() if sign in instructions), None)
        if writer is None:
            raise ConfigError(f"Expected instructions that ask for one of the forms {', '.join(FORMATS)}; got none.")
        reply = writer(read_request(text))
        num_words = sum(len(message["content"].split()) for message in messages)
        usage = Usage(prompt_tokens=num_words, completion_tokens=len(reply.split()), num_calls=1)
        return spoil(Completion(text=reply, usage=usage), self.reply)


def spoil(completion: Completion, reply: Reply) -> Completion:
    """Return the completion as it is, in no form that anybody asked for, or cut off in the middle.

    >>> spoil(Completion(text="ANALYSIS: All is well."), "truncated").text
    'ANALYSIS: A'
    """
    if reply == "malformed":
        return completion.model_copy(update={"text": "I would rather not say."})
    if reply == "truncated":
        half = completion.text[: len(completion.text) // 2]
        return completion.model_copy(update={"text": half, "finish_reason": "length"})
    return completion
