"""An actor and a chat model without a model: they do what they are told."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from metagym.models import Call
from metagym.types import Action, Completion, Episode, Message, Observation, Step, Usage


class ScriptedActor:
    """Plays the given actions one after another, the last one again and again.

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
        """Return the action whose turn it is."""
        return self.actions[min(len(steps), len(self.actions) - 1)]


Respond = Callable[[Sequence[Message], Call], str | Completion]


class FakeChatModel:
    """A chat model without a model: a function of the conversation, or a list of replies for its turns.

    From a list it takes the reply whose number is that of the assistant's turns so far, so that concurrent
    episodes do not disturb each other. `calls` keeps what was asked. An exception in the list is raised.
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
        if isinstance(reply, Completion):
            return reply
        num_words = sum(len(message["content"].split()) for message in messages)
        usage = Usage(prompt_tokens=num_words, completion_tokens=len(reply.split()), num_calls=1)
        return Completion(text=reply, usage=usage)
