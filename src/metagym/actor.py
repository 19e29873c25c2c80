"""Actors: what plays the inner environment under a prompt. They hold no state between calls."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np

from metagym.errors import ConfigError
from metagym.models import Call, ChatModel, ask
from metagym.models.context import estimate_tokens, fit_messages
from metagym.seeding import describe, step_seed
from metagym.types import Action, Completion, Episode, Message, Observation, Step, compact

ReadPrompt = Callable[[str, str, Sequence[Step], Observation], str]
"""(prompt, goal, steps, observation) -> the part of the prompt to send."""


class Actor(Protocol):
    """Decides what to do next. One object serves all concurrent episodes, so it keeps nothing between calls.

    An actor may carry `fingerprint` (a JSON mapping of what decides its play), `scripted` (True for a
    stand-in that is no language model), `revision`, and `async aclose()`.
    """

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        """Return the action for `observation`, given the steps so far."""
        ...


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
        self.scripted: bool = getattr(model, "scripted", False)
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
        limit = self.context_tokens - (getattr(self.model, "max_reply_tokens", None) or 0)
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
        if close := getattr(self.model, "aclose", None):
            await close()


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


_MARKER = re.compile(r"^[ \t>#*_`]*(thought|action)[*_`]*[ \t]*:[*_`]*[ \t]*", re.IGNORECASE | re.MULTILINE)


def read_reply(completion: Completion) -> tuple[str, str | None, str]:
    """Read `Thought:` and `Action:` from a reply; return the thought, the action or None, and the problem.

    Strict: one action, on one line, in a reply that was not cut off. Markdown emphasis around the marker
    and around the whole action is no part of either.
    """
    text = completion.text
    markers = list(_MARKER.finditer(text))
    actions = [marker for marker in markers if marker.group(1).lower() == "action"]
    thought = text[: actions[0].start()] if actions else text
    if markers and markers[0].group(1).lower() == "thought":
        thought = thought[markers[0].end() :]
    thought = thought.strip()
    if completion.finish_reason == "length":
        return thought, None, "Your reply was cut off before its end. Be brief."
    if not text.strip():
        return "", None, "Your reply was empty. Expected 'Action: <one action>'."
    if not actions:
        return thought, None, "Your reply holds no line 'Action: <one action>'."
    if len(actions) > 1:
        return thought, None, f"Your reply holds {len(actions)} lines 'Action: ...'; give exactly one."
    action = text[actions[0].end() :].strip()
    for mark in ("**", "__", "*", "`"):
        # The marker's own emphasis may close after the action: **Action: knock**
        action = action.removeprefix(mark).removesuffix(mark).strip()
    if "\n" in action:
        return thought, None, "Expected one line after 'Action:' and nothing behind it."
    return (thought, action, "") if action else (thought, None, "The line 'Action:' is empty.")


def _spoken(action: Action) -> str:
    return action.completion.text if action.completion else f"Action: {action.text or ''}"


_ITEM = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+")


MEMORY_HEADING = "## Memory"
"""The heading under which reflectors put items that are meant to be picked from, per task."""


def retrieve_items(top_k: int, *, below: str | None = None) -> ReadPrompt:
    """Return a `read_prompt` that keeps the `top_k` list items of the prompt that fit goal and observation best.

    An item is a Markdown list item (`- ...`, `1. ...`) with its indented lines; all other text stays. With
    `below`, a heading such as `MEMORY_HEADING`, only the items between that line and the next heading are picked from.
    Items are ranked by the words they share with goal and observation, each word counting less the more
    items hold it; ties go to the earlier item.
    """
    if isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 0:
        raise ConfigError(f"top_k must be 0 or more, got {top_k}.")

    def read_prompt(prompt: str, goal: str, steps: Sequence[Step], observation: Observation) -> str:
        blocks = _blocks(prompt, below)
        items = {index: _words(text) for index, (is_item, text) in enumerate(blocks) if is_item}
        query = _words(f"{goal}\n{observation.text}")

        def relevance(index: int) -> float:
            shared = sorted(items[index] & query)  # a fixed order, as float sums depend on it
            return sum(1 / sum(word in words for words in items.values()) for word in shared)

        best = set(sorted(items, key=lambda index: (-relevance(index), index))[:top_k])
        return "\n".join(text for index, (is_item, text) in enumerate(blocks) if not is_item or index in best)

    read_prompt.fingerprint = {"kind": "retrieve_items", "top_k": top_k, "below": below}  # type: ignore[attr-defined]
    return read_prompt


def _blocks(prompt: str, below: str | None) -> list[tuple[bool, str]]:
    """Split a prompt into items and other lines; a line that is indented under an item belongs to it."""
    blocks: list[tuple[bool, str]] = []
    is_open = below is None
    for line in prompt.splitlines():
        if below is not None and line.startswith("#"):
            is_open = line.strip() == below.strip()
        after_item = bool(blocks) and blocks[-1][0]
        if is_open and _ITEM.match(line) and not (after_item and line.startswith("  ")):
            blocks.append((True, line))
        elif after_item and line.startswith((" ", "\t")) and line.strip():
            blocks[-1] = (True, f"{blocks[-1][1]}\n{line}")
        else:
            blocks.append((False, line))
    return blocks


def _words(text: str) -> set[str]:
    return set(re.findall(r"[^\W_]{3,}", text.lower()))


class RandomActor:
    """Plays a random available action: the floor that any actor should beat."""

    scripted = True
    fingerprint: Mapping[str, Any] = {"kind": "RandomActor"}

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        """Draw an action from the episode's seed and the number of steps."""
        if not observation.available_actions:
            return Action(text=None, problem="There is no list of available actions to draw from.")
        rng = np.random.default_rng((episode.seed, len(steps)))
        return Action(text=observation.available_actions[int(rng.integers(len(observation.available_actions)))])


class FunctionActor:
    """Makes an actor of a plain or async function `(episode, steps, observation) -> Action | str`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.scripted: bool = getattr(function, "scripted", False)
        self.fingerprint = {"kind": "function", "name": describe(function)}

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        """Call the function; a str it returns is the action's text."""
        action = self._function(episode, steps, observation)
        if inspect.isawaitable(action):
            action = await action
        return Action(text=action) if isinstance(action, str) else cast(Action, action)
