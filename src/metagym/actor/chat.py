"""ChatActor: a language model that plays in turns, the conversation that is sent to it, and the forms of its reply."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from metagym.actor.actor import end_problem
from metagym.actor.retrieval import ReadPrompt
from metagym.errors import ConfigError, UnknownNameError
from metagym.models import Call, ChatModel, ask, estimate_tokens
from metagym.models.constraint import JSON_MEANS, MAX_THOUGHT, ReplyForm, action_in_json, read_constrain
from metagym.optional_attributes import Extension, describe, extension_of
from metagym.types import Action, Completion, Episode, Message, Observation, Step, compact, step_seed

FILLED_AGAIN = 0.75
"""The share of the context that is filled after turns were left out."""
MAX_REPEATED_LIST = 200
"""Characters of a list of actions that is repeated in each turn. A small model copies the text nearest to its reply."""
STILL_HOLDS = "The last observation still holds:"
"""The words before an observation that is repeated, so that its events are not read as new ones."""
Exchange = Callable[[Step | None, Step], tuple[Message, ...]]
"""Returns a step as its two messages, given the step before it; nothing for an action that was not executed."""


class ChatActor(Extension):
    """A language model that plays in turns.

    The system message is the prompt and the reply format ("react": a thought and an action, or "act": the action
    alone); each observation is a user message. A long list of actions that is the same as in the turn before is not
    repeated, unless the last action was not executed: then the turn ends with the list and the reply format. A reply
    whose action was not executed is not sent back, since small models copy it; the next turn names the mistake. With
    `history_steps`, only that number of the last steps is sent; the goal stays, and the roles alternate.
    `read_prompt` picks the part of the prompt to send (see `retrieve_items`); the part that was sent is recorded.
    With `context_tokens`, the size of the model's context (if it is known, that is the default), the oldest turns
    after the first are left out if the conversation and the reply would not fit (see `fit_messages`).
    With `constrain="auto"` the server holds each reply to the reply format, and the action to the list, if it can.
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
        reply_format: str = "react",
        constrain: str = "off",
    ) -> None:
        is_constrained = read_constrain(constrain)
        if history_steps is not None and history_steps < 0:
            raise ConfigError(f"history_steps must be 0 or more, or None for all, got {history_steps}.")
        if context_tokens is not None and context_tokens < 1:
            raise ConfigError(f"context_tokens must be positive, or None for no limit, got {context_tokens}.")
        self.reply_format, self._format = reply_format, find_reply_format(reply_format)
        about = extension_of(model)
        self.model, self.context_tokens = model, context_tokens or about.context_tokens
        self.history_steps, self.list_actions, self.read_prompt = history_steps, list_actions, read_prompt
        self.constrain, self._held_to = constrain, about.held_to if is_constrained else None
        self.scripted, self._max_reply_tokens = about.scripted, about.max_reply_tokens or 0
        self._conversations = _Conversations()

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Everything that decides the play: the model, the history and the reading of the prompt."""
        return {
            "kind": "ChatActor",
            "model": describe(self.model),
            "history_steps": self.history_steps,
            "context_tokens": self.context_tokens,
            "list_actions": self.list_actions,
            "read_prompt": describe(self.read_prompt),
            "reply_format": {**self._format._asdict(), "stop": list(self._format.stop)},
            "constrain": "off" if self._held_to is None else {"max_thought": MAX_THOUGHT},
        }

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        """Ask the model for the next action. A reply that cannot be read is an action without text."""
        if observation.tools and not steps:
            raise ConfigError(
                "The environment offers tools, and ChatActor shows no tools to its model. Set offers_tools = True in "
                "the meta-environment's class, write act='tools' in the actor's mapping, or use ToolActor."
            )
        prompt = episode.prompt
        if self.read_prompt is not None:
            prompt = self.read_prompt(prompt, observation.goal, steps, observation)
        seed = step_seed(episode.seed, len(steps))
        call = Call("actor", episode.arm, episode.meta_step, seed, episode.repetition, self._format.stop)
        model = self.model
        if self._held_to is not None:
            actions = observation.available_actions if self.list_actions else None
            model = self._held_to(reply_form(self.reply_format, actions, self._max_reply_tokens or None))
        completion = await ask(model, self._fitted(prompt, steps, observation), call)
        thought, text, problem = read_reply(completion, self.reply_format)
        read = None if prompt == episode.prompt else prompt
        return compact(Action(text=text, thought=thought, problem=problem, completion=completion, prompt_read=read))

    def messages(self, prompt: str, steps: Sequence[Step], observation: Observation) -> list[Message]:
        """Return the conversation that is sent for `observation` after `steps`."""
        num_left_out = 0 if self.history_steps is None else max(0, len(steps) - self.history_steps)
        head = f"Goal: {observation.goal}\n\n" if observation.goal else ""
        if num_left_out:
            head += f"[{num_left_out} earlier turns are left out.]\n\n"
            pairs = zip([None, *steps[num_left_out:]], steps[num_left_out:], strict=False)
            history = [message for before, step in pairs for message in self._exchange(before, step)]
        else:
            history = self._conversations.until(steps, self._exchange)
        first = steps[0].observation if steps else observation
        form = self._format.instruction(first.available_actions if self.list_actions else None)
        turn = self._turn(steps[-1] if history else None, observation)
        messages: list[Message] = [{"role": "system", "content": f"{prompt}\n\n{form}"}, *history]
        messages.append({"role": "user", "content": turn})
        messages[1] = {"role": "user", "content": head + messages[1]["content"]}
        return messages

    def _exchange(self, before: Step | None, step: Step) -> tuple[Message, ...]:
        action = step.action
        if step.command is None:  # the next turn holds the same observation, and names the mistake
            return ()
        reply = action.completion.text if action.completion else f"Action: {action.text}"
        return (
            {"role": "user", "content": self._turn(before, step.observation)},
            {"role": "assistant", "content": reply},
        )

    def _fitted(self, prompt: str, steps: Sequence[Step], observation: Observation) -> list[Message]:
        messages = self.messages(prompt, steps, observation)
        if self.context_tokens is None:
            return messages
        limit = self.context_tokens - self._max_reply_tokens
        known = None
        if steps and (completion := steps[0].action.completion) is not None:
            # The first turn is never left out, so the server's count of its tokens corrects the estimate.
            first = self.messages(prompt_sent(prompt, steps[0]), (), steps[0].observation)
            known = (estimate_tokens(first), completion.usage.prompt_tokens)

        def without_history(index: int) -> str:
            shown = [step.observation for step in steps if step.command is not None] + [observation]
            return self._turn(None, shown[len(shown) - len(messages) // 2 + index])

        return fit_messages(messages, limit, known=known, without_history=without_history)

    def _turn(self, before: Step | None, observation: Observation) -> str:
        parts = [observation.text]
        if observation.feedback:
            parts = [f"Not executed: {observation.feedback}", f"{STILL_HOLDS}\n{observation.text}"]
        actions = observation.available_actions if self.list_actions else None
        if actions is not None:
            listed = ", ".join(actions)
            is_known = before is not None and before.observation.available_actions == actions
            is_left_out = is_known and not observation.feedback and len(listed) > MAX_REPEATED_LIST
            parts.append("The available actions are the same." if is_left_out else f"Available actions: {listed}")
        if observation.feedback:
            parts.append(self._format.instruction(actions))
        return "\n\n".join(parts)

    async def aclose(self) -> None:
        """Close the model's connections, if it has any."""
        await extension_of(self.model).aclose()


def prompt_sent(prompt: str, step: Step) -> str:
    """Return the system prompt of a step: `prompt`, or the text (perhaps empty) that `read_prompt` made of it."""
    return prompt if step.action.prompt_read is None else step.action.prompt_read


class _Conversations:
    """The messages of the episodes in flight, so that each turn is rendered once.

    It is only a cache. An entry belongs to one list of steps, and the engine only appends to that list, so that a
    conversation is the same with and without the cache.
    """

    MAX_EPISODES = 256

    def __init__(self) -> None:
        self._entries: dict[int, tuple[Sequence[Step], int, list[Message]]] = {}

    def __reduce__(self) -> tuple[type[_Conversations], tuple[()]]:
        return _Conversations, ()  # the addresses are wrong in another process

    def until(self, steps: Sequence[Step], exchange: Exchange) -> list[Message]:
        known, num_steps, messages = self._entries.pop(id(steps), (None, 0, []))
        # A new list may have the address of an old one that was freed; the entry holds the list that it was made from.
        if known is not steps or num_steps > len(steps):
            num_steps, messages = 0, []
        for index in range(num_steps, len(steps)):
            messages.extend(exchange(steps[index - 1] if index else None, steps[index]))
        if steps:
            self._entries[id(steps)] = (steps, len(steps), messages)
            if len(self._entries) > self.MAX_EPISODES:
                del self._entries[next(iter(self._entries))]
        return messages


def num_left_out(added: Sequence[float], removed: Sequence[float], limit: float, *, num_kept: int = 0) -> int:
    """Return how many of the oldest turns to leave out, so that the conversation has at most `limit` tokens.

    `added` are the sizes of the part that stays in any case, and of each turn; `removed` are the sizes of the
    messages that go with each turn. The last `num_kept` turns stay. If the conversation does not fit, turns are left
    out until a quarter of the limit is free, and then no turn for a while: after each change the server reads the
    whole conversation again, which takes a small model on a CPU minutes.

    >>> [num_left_out([10, *[10] * turns], [10] * turns, 60) for turns in range(9)]
    [0, 0, 0, 0, 0, 0, 3, 3, 3]
    """
    total, left_out = 0.0, 0
    for turn, size in enumerate(added):
        total += size
        if total > limit:
            while left_out < turn - num_kept and total > FILLED_AGAIN * limit:
                total -= removed[left_out]
                left_out += 1
    return left_out


def fit_messages(
    messages: list[Message],
    limit: int,
    *,
    known: tuple[int, int] | None = None,
    without_history: Callable[[int], str] | None = None,
) -> list[Message]:
    """Shorten a conversation of alternating turns to about `limit` tokens.

    The system message, the first user message (with the goal and the first observation) and the last one stay, even if
    they do not fit: the server then reports it. Turns between them are left out, the oldest first, up to a user message
    that is then appended to the first one, with a note of how many turns are missing. `known` corrects the estimate:
    the result of `estimate_tokens` for an earlier conversation, and the server's count for it. `without_history(index)`
    returns the text of that turn if the turns before it are not there to be referred to.
    """
    scale = known[1] / known[0] if known and known[0] and known[1] else 1.0
    sizes = [estimate_tokens([message]) * scale for message in messages]
    first = next((index for index, message in enumerate(messages) if message["role"] == "user"), len(messages))
    replies = range(first + 1, len(messages), 2)
    added = [sum(sizes[: first + 1]), *(sizes[reply] + sizes[reply + 1] for reply in replies)]
    # With a reply the observation before it is left out, unless it is the first.
    removed = [sizes[reply] + (sizes[reply - 1] if reply > first + 1 else 0) for reply in replies]
    num_turns = num_left_out(added, removed, limit)
    if not num_turns:
        return messages
    kept = first + 2 * num_turns  # index of the user message that is appended to the first one
    rest = messages[kept]["content"] if without_history is None else without_history(num_turns)
    text = f"{messages[first]['content']}\n\n[{num_turns} turns are left out here.]\n\n{rest}"
    return [*messages[:first], {"role": "user", "content": text}, *messages[kept + 1 :]]


_MARKER = re.compile(r"^[ \t>#*_`]*(thought|action)[*_`]*[ \t]*:[*_`]*[ \t]*", re.IGNORECASE | re.MULTILINE)
_INLINE = re.compile(r"(?<=[.!?] )[*_`]*action[*_`]*[ \t]*:[*_`]*[ \t]*", re.IGNORECASE)


class ReplyFormat(NamedTuple):
    """The instruction that follows the prompt in the actor's system message."""

    text: str
    """The form, if no actions are listed."""
    text_with_actions: str
    """The form, if the available actions are listed; `{action}` is replaced by one of them."""
    stop: tuple[str, ...] = ("\nObservation:",)
    """Strings that end a reply: the text behind them is an observation that the model invents."""

    def instruction(self, actions: Sequence[str] | None) -> str:
        """Return the text for an episode whose first observation lists `actions`; the first of them is the example."""
        return self.text_with_actions.replace("{action}", actions[0]) if actions else self.text


_REACT = """\
Reply with your reasoning and exactly one action, in this form:
Thought: <your reasoning>
Action: <one action>"""
_COPY = "The action is copied letter by letter from the latest list of available actions, for example:"

REPLY_FORMATS = {
    "react": ReplyFormat(_REACT, f"{_REACT}\n{_COPY}\nAction: {{action}}"),
    "act": ReplyFormat(
        "Reply with exactly one action and nothing else.",
        f"Reply with exactly one action and nothing else. {_COPY}\n{{action}}",
    ),
}
"""The formats by name. "react" is the turn of Yao et al. 2022 (ReAct): a thought, then an action."""


_MARKER_TOKENS = 16
_EXPECTED = {"react": "'Action: <one action>'.", "act": "one action."}


def find_reply_format(name: str) -> ReplyFormat:
    """Return the format of that name."""
    if name not in REPLY_FORMATS:
        raise UnknownNameError.of("reply_format", name, REPLY_FORMATS)
    return REPLY_FORMATS[name]


def reply_form(name: str, actions: Sequence[str] | None, max_reply_tokens: int | None) -> ReplyForm:
    """Return the form to which a reply is held; the thought is short enough for the token limit of the reply."""
    actions = tuple(dict.fromkeys(action for action in actions or () if action.strip() and "\n" not in action))
    if name == "act":
        return ReplyForm(actions, None)
    longest = max(map(len, actions), default=0)
    room = MAX_THOUGHT if max_reply_tokens is None else max_reply_tokens - longest - _MARKER_TOKENS
    return ReplyForm(actions, max(1, min(MAX_THOUGHT, room)))


def read_reply(completion: Completion, reply_format: str = "react") -> tuple[str, str | None, str]:
    """Read a reply in the form `reply_format`; return the thought, the action or None, and the problem.

    It is strict: one action, at the end of one line, in a reply that was not cut off. The marker begins a line or, if
    no line begins with one, follows a sentence. Markdown emphasis around the marker or the whole action is removed. In
    the form "act" the line `Action:` may be left out.
    """
    if completion.constraint == JSON_MEANS and completion.is_whole:
        thought, found = action_in_json(completion.text)
        return thought, found, "" if found is not None else "Your reply is no JSON object with an 'action'."
    text = completion.text
    markers = list(_MARKER.finditer(text))
    actions = [marker for marker in markers if marker.group(1).lower() == "action"] or list(_INLINE.finditer(text))
    thought = text[: actions[0].start()] if actions else text
    if markers and markers[0].group(1).lower() == "thought":
        thought = thought[markers[0].end() :]
    thought = thought.strip()
    if problem := end_problem(completion):
        return thought, None, problem
    if completion.tool_calls and not actions and not (reply_format == "act" and text.strip()):
        calls = ", ".join(completion.tool_calls)
        return (
            thought,
            None,
            f"Your reply calls a tool ({calls:.200}), and there is none. Expected {_EXPECTED[reply_format]}",
        )
    if not text.strip():
        return "", None, "Your reply was empty. Expected " + _EXPECTED[reply_format]
    if not actions and (reply_format != "act" or markers):
        return thought, None, "Your reply holds no line 'Action: <one action>'."
    if len(actions) > 1:
        return thought, None, f"Your reply holds {len(actions)} lines 'Action: ...'; give exactly one."
    action = text[actions[0].end() :].strip() if actions else text.strip()
    for mark in () if completion.constraint else ("**", "__", "*", "`"):
        # The marker's own emphasis may close after the action: **Action: knock**
        action = action.removeprefix(mark).removesuffix(mark).strip()
    if "\n" in action:
        place = "after 'Action:' and nothing behind it" if actions else "with the action and nothing else"
        return thought, None, f"Expected one line {place}."
    thought = thought if actions else ""
    return (thought, action, "") if action else (thought, None, "The line 'Action:' is empty.")
