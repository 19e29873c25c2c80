"""ToolActor: a language model that acts by calling the tools which the environment offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from metagym.actor.actor import end_problem, tools_at
from metagym.actor.chat import num_left_out as turns_left_out
from metagym.actor.retrieval import ReadPrompt
from metagym.actor.tool_turns import ToolTurn, last_turn, read_calls, turns_of
from metagym.errors import ConfigError
from metagym.models import Call, ChatModel, ask, estimate_tokens
from metagym.models.asking import conversation_of
from metagym.models.constraint import read_constrain
from metagym.models.server_profile import sent_form
from metagym.models.tool_calling import HELD_FORM, TEXT_FORM, ModelWithTools
from metagym.optional_attributes import Extension, describe, extension_of
from metagym.tools import read_parts
from metagym.types import Action, Completion, Episode, Message, Observation, Step, compact, digest, step_seed

Tools = tuple[Mapping[str, Any], ...]


class ToolActor(Extension):
    """A language model that acts by calling tools.

    The system message is the prompt without its sections `## Tool: NAME`: these replace descriptions of tools. Goal and
    first observation are the first user message. The tools that the environment offers go with each request, natively,
    or as text to a server that takes no tools (one question finds out). The calls of one reply are played in its order,
    one step each; then the model gets all results. A reply without a call is the agent's answer. A call that cannot be
    read, names no tool or does not fit its schema is not executed: its result is the reason.
    `read_prompt` picks the part of the prompt to send (see `retrieve_items`). With `history_steps`, only the turns of
    that number of last steps are sent; the last turn, with its results, always is. With `context_tokens` (by default
    the model's, if it is known) the oldest turns are left out if the conversation and the reply would not fit.
    With `constrain="auto"` the server holds each reply to one call that fits its tool, or to an answer, if it can.
    """

    def __init__(
        self,
        model: ChatModel,
        *,
        history_steps: int | None = None,
        context_tokens: int | None = None,
        read_prompt: ReadPrompt | None = None,
        constrain: str = "off",
    ) -> None:
        is_constrained = read_constrain(constrain)
        if history_steps is not None and history_steps < 0:
            raise ConfigError(f"history_steps must be 0 or more, or None for all, got {history_steps}.")
        if context_tokens is not None and context_tokens < 1:
            raise ConfigError(f"context_tokens must be positive, or None for no limit, got {context_tokens}.")
        about = extension_of(model)
        self.model, self.history_steps, self.read_prompt = model, history_steps, read_prompt
        self.context_tokens = context_tokens or about.context_tokens
        self.scripted, self._max_reply_tokens = about.scripted, about.max_reply_tokens or 0
        self._about, self._is_held = about, is_constrained and about.with_tools is not None

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Everything that decides the play: the model, the reading of the prompt, and the form of calls as text."""
        return {
            "kind": "ToolActor",
            "model": describe(self.model),
            "history_steps": self.history_steps,
            "context_tokens": self.context_tokens,
            "read_prompt": describe(self.read_prompt),
            "text_form": digest(HELD_FORM if self._is_held else TEXT_FORM),
            "constrain": "auto" if self._is_held else "off",
        }

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        """Return the next call of the last reply, or ask the model."""
        tools = tools_at(steps, observation)
        if tools is None:
            raise ConfigError(
                "ToolActor needs an environment that offers tools in info['tools'], and this one offers no tools. "
                "Write act='text' in the actor's mapping, or use ChatActor."
            )
        turn = last_turn(steps)
        if turn is not None and (waiting := turn.waiting) is not None:
            return compact(Action(text=waiting.action, problem=waiting.problem))
        prompt = episode.prompt
        if self.read_prompt is not None:
            prompt = self.read_prompt(prompt, observation.goal, steps, observation)
        call = Call("actor", episode.arm, episode.meta_step, step_seed(episode.seed, len(steps)), episode.repetition)
        tools = self.tools(prompt, steps, observation)
        completion = await ask(self._with(tools), self._fitted(prompt, steps, observation, tools), call)
        read = None if prompt == episode.prompt else prompt
        return compact(first_action(completion).model_copy(update={"completion": completion, "prompt_read": read}))

    def tools(self, prompt: str, steps: Sequence[Step], observation: Observation) -> Tools:
        """Return the tools that are offered for `observation`, as the prompt describes them."""
        return read_parts(prompt, tools_at(steps, observation) or ())[1]

    def messages(self, prompt: str, steps: Sequence[Step], observation: Observation) -> list[Message]:
        """Return the conversation that is sent for `observation` after `steps`, in the native form."""
        groups = self._groups(prompt, steps, observation)
        return _without_oldest(groups, self._num_left_out(steps))

    def _groups(self, prompt: str, steps: Sequence[Step], observation: Observation) -> list[list[Message]]:
        """Return the head of the conversation, then the messages of each turn."""
        first = steps[0].observation if steps else observation
        prompt, _ = read_parts(prompt, tools_at(steps, observation) or ())
        goal = f"Goal: {first.goal}\n\n" if first.goal else ""
        head: list[Message] = [{"role": "system", "content": prompt}, {"role": "user", "content": goal + first.text}]
        groups, seen = [head], [*(step.observation for step in steps[1:]), observation]
        for turn in turns_of(steps):
            answers, seen = seen[: len(turn.steps)], seen[len(turn.steps) :]
            groups.append([_reply_message(turn), *_answer_messages(turn, answers)])
        return groups

    def _num_left_out(self, steps: Sequence[Step]) -> int:
        """Return the number of oldest turns before the last `history_steps` steps; the last turn stays."""
        if self.history_steps is None:
            return 0
        turns, num_steps = turns_of(steps), len(steps)
        for number, turn in enumerate(turns[:-1]):
            num_steps -= len(turn.steps)
            if num_steps < self.history_steps:
                return number
        return max(0, len(turns) - 1)

    def _fitted(self, prompt: str, steps: Sequence[Step], observation: Observation, tools: Tools) -> list[Message]:
        groups, num_left_out = self._groups(prompt, steps, observation), self._num_left_out(steps)
        if self.context_tokens is None:
            return _without_oldest(groups, num_left_out)
        is_sent = extension_of(self.model).sends_reasoning
        sent = [[cast("Message", sent_form(item, with_reasoning=is_sent)) for item in group] for group in groups]
        sizes = [estimate_tokens(group) for group in sent]
        offered = estimate_tokens(conversation_of({"messages": (), "tools": tools}))
        first = steps[0].action.completion.usage.prompt_tokens if steps and steps[0].action.completion else 0
        scale = first / (sizes[0] + offered) if first else 1.0  # the server's own count corrects the estimate
        limit = (self.context_tokens - self._max_reply_tokens) / scale
        turns = sizes[num_left_out + 1 :]
        num_left_out += turns_left_out([sizes[0] + offered, *turns], turns, limit, num_kept=1)
        return _without_oldest(groups, num_left_out)

    def _with(self, tools: Tools) -> ChatModel:
        own = self._about.with_tools
        if own is None:
            return ModelWithTools(self.model, tools, about=self._about)
        model: ChatModel = own(tools, held=True) if self._is_held else own(tools)
        return model

    async def aclose(self) -> None:
        """Close the model's connections, if it has any."""
        await self._about.aclose()


def _without_oldest(groups: list[list[Message]], num_turns: int) -> list[Message]:
    """Return the messages without those of the oldest turns, which a note counts."""
    if num_turns:
        system, user = groups[0]
        note = f"{user['content']}\n\n[{num_turns} turns are left out here.]"
        groups = [[system, {"role": "user", "content": note}], *groups[num_turns + 1 :]]
    return [message for group in groups for message in group]


def first_action(completion: Completion) -> Action:
    """Return the first call of a reply, or its text, as an action; a reply that cannot be read has no text."""
    thought, calls = read_calls(completion)
    if problem := end_problem(completion):
        return Action(text=None, thought=thought, problem=problem)
    if calls:
        return Action(text=calls[0].action, thought=thought, problem=calls[0].problem)
    if not thought:
        return Action(text=None, problem="Your reply was empty. Call a tool, or write your answer.")
    return Action(text=thought)


def _reply_message(turn: ToolTurn) -> Message:
    text = turn.thought
    if not turn.calls:
        text = text or (turn.steps[0].action.text or "(no reply)")
    message: Message = {"role": "assistant", "content": text}
    if turn.calls:
        message["tool_calls"] = [call.message for call in turn.calls]
    if turn.completion is not None and turn.completion.reasoning:
        message["reasoning_content"] = turn.completion.reasoning
    return message


def _answer_messages(turn: ToolTurn, answers: Sequence[Observation]) -> list[Message]:
    """Return the results of a turn's calls, each with the id of its call, or the user's next message."""
    texts = [f"Not executed: {item.feedback}" if item.feedback else item.text for item in answers]
    if not turn.calls:
        return [{"role": "user", "content": texts[0]}]
    pairs = zip(turn.calls, texts, strict=False)  # an episode may end within a turn
    return [{"role": "tool", "tool_call_id": call.id, "content": text} for call, text in pairs]
