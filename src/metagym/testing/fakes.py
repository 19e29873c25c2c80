"""Fakes in place of language models: an actor that plays given actions, and a chat model that gives given replies."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from metagym.models import Call
from metagym.reflectors.scripted_model import count_words
from metagym.types import Action, Completion, Episode, Message, Observation, Step

Respond = Callable[[Sequence[Message], Call], str | Completion]


class ScriptedActor:
    """Plays the given actions one after another, then repeats the last one.

    >>> import gymnasium, metagym
    >>> env = gymnasium.make("MetaGym/Gates-v0", actor=ScriptedActor(["knock", "dance"]), episodes_per_step=1)
    >>> _, info = env.reset(seed=0)
    >>> trajectories, *_ = env.step(info["default_prompt"])
    >>> trajectories[0].steps[1].is_valid, trajectories[0].stop_reason.value
    (False, 'step limit')
    """

    scripted = True

    def __init__(self, actions: Sequence[str | Action]) -> None:
        self.actions = tuple(Action(text=action) if isinstance(action, str) else action for action in actions)
        self.fingerprint = {"kind": "ScriptedActor", "actions": [action.text for action in self.actions]}

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        """Return the next action."""
        return self.actions[min(len(steps), len(self.actions) - 1)]


class FakeChatModel:
    """A chat model without a language model: a function of the conversation, or a list of replies for its turns.

    It takes the reply from the list by the number of the assistant's turns so far, so that concurrent episodes do
    not disturb each other; a reply that `ChatActor` does not send back, because it was not executed, does not count. It
    raises an exception in the list. `calls` keeps all calls.
    """

    scripted = True

    def __init__(self, replies: Respond | Sequence[str | Completion | Exception]) -> None:
        self._replies = replies
        self.calls: list[tuple[list[Message], Call]] = []
        self.fingerprint = {"kind": "FakeChatModel"}

    async def complete(self, messages: Sequence[Message], call: Call) -> Completion:
        """Return the reply."""
        self.calls.append((list(messages), call))
        if callable(self._replies):
            reply: str | Completion | Exception = self._replies(messages, call)
        else:
            turn = sum(message["role"] == "assistant" for message in messages)
            reply = self._replies[min(turn, len(self._replies) - 1)]
        if isinstance(reply, Exception):
            raise reply
        return reply if isinstance(reply, Completion) else count_words(messages, reply)
