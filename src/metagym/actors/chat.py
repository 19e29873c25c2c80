"""ChatActor: a language model that plays by reasoning and acting in turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from metagym.actors.replies import read_reply
from metagym.actors.retrieval import ReadPrompt
from metagym.errors import ConfigError
from metagym.extensions import extension_of
from metagym.models import Call, ChatModel, ask
from metagym.models.context import estimate_tokens, fit_messages
from metagym.seeding import describe, step_seed
from metagym.types import Action, Episode, Message, Observation, Step, compact

REPLY_FORMAT = """\
Reply with your reasoning and exactly one action, in this form:
Thought: <your reasoning>
Action: <one action>"""


class ChatActor:
    """A language model that plays by reasoning and acting in turns.

    The system message is the prompt and the reply format; each observation is a user message. With
    `history_steps` only the last so many steps are sent; the goal stays, and the roles keep alternating.
    `read_prompt` picks the part of the prompt to send (see `retrieve_items`); what was really sent is
    recorded. With `context_tokens`, the model's window, the oldest turns after the first are left out where the
    conversation would not fit beside the reply (see `models.context.fit_messages`).
    Source of the turn format: Yao et al. 2022 (ReAct).
    """

    def __init__(
        self,
        model: ChatModel,
        *,
        history_steps: int | None = None,
        context_tokens: int | None = None,
        list_actions: bool = True,
        read_prompt: ReadPrompt | None = None,
    ) -> None:
        if history_steps is not None and history_steps < 0:
            raise ConfigError(f"history_steps must be 0 or more, or None for all, got {history_steps}.")
        if context_tokens is not None and context_tokens < 1:
            raise ConfigError(f"context_tokens must be positive, or None for no limit, got {context_tokens}.")
        self.model, self.context_tokens = model, context_tokens
        self.history_steps, self.list_actions, self.read_prompt = history_steps, list_actions, read_prompt
        self.scripted: bool = extension_of(model).scripted
        self._said = _Conversations()

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What decides the play: the model, the history and the reading of the prompt."""
        return {
            "kind": "ChatActor",
            "model": describe(self.model),
            "history_steps": self.history_steps,
            "context_tokens": self.context_tokens,
            "list_actions": self.list_actions,
            "read_prompt": describe(self.read_prompt),
            "reply_format": REPLY_FORMAT,
        }

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        """Ask the model for the next action; a reply that cannot be read is an action without text."""
        prompt = episode.prompt
        if self.read_prompt is not None:
            prompt = self.read_prompt(prompt, observation.goal, steps, observation)
        call = Call(
            role="actor",
            arm=episode.arm,
            meta_step=episode.meta_step,
            seed=step_seed(episode.seed, len(steps)),
            repetition=episode.repetition,
        )
        completion = await ask(self.model, self._fitted(prompt, steps, observation), call)
        thought, text, problem = read_reply(completion)
        action = Action(
            text=text,
            thought=thought,
            problem=problem,
            completion=completion,
            prompt_read=None if prompt == episode.prompt else prompt,
        )
        return compact(action)

    def messages(self, prompt: str, steps: Sequence[Step], observation: Observation) -> list[Message]:
        """Return the conversation: what is sent for `observation` after `steps`."""
        kept = steps if self.history_steps is None else steps[len(steps) - min(self.history_steps, len(steps)) :]
        head = f"Goal: {observation.goal}\n\n" if observation.goal else ""
        if len(kept) < len(steps):
            head += f"[{len(steps) - len(kept)} earlier turns are left out.]\n\n"
        system: Message = {"role": "system", "content": f"{prompt}\n\n{REPLY_FORMAT}"}
        if len(kept) == len(steps):
            said = self._said.until(steps, self._exchange)
        else:
            said = [message for step in kept for message in self._exchange(step)]
        messages: list[Message] = [system, *said, {"role": "user", "content": self._turn(observation)}]
        messages[1] = {"role": "user", "content": head + messages[1]["content"]}
        return messages

    def _exchange(self, step: Step) -> tuple[Message, Message]:
        return (
            {"role": "user", "content": self._turn(step.observation)},
            {"role": "assistant", "content": _spoken(step.action)},
        )

    def _fitted(self, prompt: str, steps: Sequence[Step], observation: Observation) -> list[Message]:
        """Return the messages, cut where they would not fit into the context beside a reply."""
        messages = self.messages(prompt, steps, observation)
        if self.context_tokens is None:
            return messages
        limit = self.context_tokens - (extension_of(self.model).max_reply_tokens or 0)
        known = None
        if steps and (completion := steps[0].action.completion) is not None:
            # The first turn is never cut, so what the server counted for it corrects the estimate.
            first = self.messages(steps[0].action.prompt_read or prompt, (), steps[0].observation)
            known = (estimate_tokens(first), completion.usage.prompt_tokens)
        return fit_messages(messages, limit, known=known)

    def _turn(self, observation: Observation) -> str:
        parts = [observation.text]
        if observation.feedback:
            parts.insert(0, f"Not executed: {observation.feedback}")
        if self.list_actions and observation.available_actions is not None:
            parts.append("Available actions: " + ", ".join(observation.available_actions))
        return "\n\n".join(parts)

    async def aclose(self) -> None:
        """Close the model's connections, where it has any."""
        await extension_of(self.model).aclose()


class _Conversations:
    """What was said in the episodes in flight, each turn rendered once.

    A cache and nothing more: an entry is looked up by the very list of steps that it was made from, which
    an engine only ever appends to, so that a conversation is the same with and without it.
    """

    MAX_EPISODES = 256

    def __reduce__(self) -> tuple[type[_Conversations], tuple[()]]:
        return _Conversations, ()  # addresses mean nothing in another process

    def __init__(self) -> None:
        self._entries: dict[int, tuple[Sequence[Step], list[Message]]] = {}

    def until(self, steps: Sequence[Step], exchange: Callable[[Step], tuple[Message, Message]]) -> list[Message]:
        """Return the messages of `steps`, two a step."""
        known, messages = self._entries.pop(id(steps), (None, []))
        # Another list may live at an address that was free again; it is never the one that is kept here.
        if known is not steps or len(messages) > 2 * len(steps):
            messages = []
        for step in steps[len(messages) // 2 :]:
            messages.extend(exchange(step))
        if steps:
            self._entries[id(steps)] = (steps, messages)
            if len(self._entries) > self.MAX_EPISODES:
                del self._entries[next(iter(self._entries))]
        return messages


def _spoken(action: Action) -> str:
    return action.completion.text if action.completion else f"Action: {action.text or ''}"
