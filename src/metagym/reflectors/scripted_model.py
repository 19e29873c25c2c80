"""The scripted stand-in for a reflector's model on Gates: no language model, no key, no network.

It answers each method's request in the reply form that the request asks for; your own method gets an answer, too, if
it asks for one of these forms. It knows only the request: the way that opened each gate, and the rules that the
request already holds (`when the gate is iron, push`). On other environments it finds nothing to write.
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
    """Answers reflectors' requests on Gates; `make_reflector({"method": "ace_style", "model": "demo"})` uses one.

    With `reply="malformed"` it answers in none of the forms, with `reply="truncated"` it stops in the middle.

    >>> import gymnasium, metagym
    >>> from metagym.reflectors.expel_style import ExpelStyle
    >>> with gymnasium.make("MetaGym/Gates-v0", actor="demo") as env:
    ...     result = metagym.optimize(env, ExpelStyle(ScriptedReflectorModel()), 6, seed=1)
    >>> result.rewards[-1] > result.rewards[0]
    True
    """

    scripted = True
    max_reply_tokens = 2_000
    """No reply is longer; a budget in tokens relies on it."""

    def __init__(self, reply: Reply = "good") -> None:
        if reply not in ("good", "malformed", "truncated"):
            raise ConfigError(f"reply must be 'good', 'malformed' or 'truncated', got {reply!r}.")
        self.reply = reply
        self.fingerprint = {"kind": "ScriptedReflectorModel", "reply": reply}

    async def complete(self, messages: Sequence[Message], call: Call) -> Completion:
        """Return the reply.

        Raises:
            ConfigError: the request asks for none of the known forms.
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
    """Return the completion unchanged, malformed, or cut off in the middle.

    >>> spoil(Completion(text="ANALYSIS: All is well."), "truncated").text
    'ANALYSIS: A'
    """
    if reply == "malformed":
        return completion.model_copy(update={"text": "I would rather not say."})
    if reply == "truncated":
        half = completion.text[: len(completion.text) // 2]
        return completion.model_copy(update={"text": half, "finish_reason": "length"})
    return completion
