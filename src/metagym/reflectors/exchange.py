"""What the methods share: asking the model with the right chance, and the reflection that comes of it.

A method's memory is a JSON value in the last reflection. Where a reply cannot be used, prompt and memory stay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from metagym.extensions import extension_of
from metagym.models import Call, ChatModel, ask
from metagym.seeding import derive_seed
from metagym.spaces import PromptSpace
from metagym.types import Completion, Message, MetaStep, Reflection, Trajectory, sum_usage


class Question(NamedTuple):
    """One call of a reflection."""

    instructions: str
    text: str
    role: str = "reflector"


def call_about(history: Sequence[MetaStep], number: int = 0, role: str = "reflector") -> Call:
    """Return the call that reflects on the history; its chance follows from what was played, and from `number`."""
    last = history[-1]
    # So that it differs between arms and runs.
    seed = derive_seed("reflector", last.index, *(item.episode.seed for item in last.trajectories))
    arm = last.trajectories[0].episode.arm if last.trajectories else ""
    own = derive_seed(seed, "call", number) if number else seed
    return Call(role=role, arm=arm, meta_step=last.index, seed=own, repetition=number)


async def ask_all(
    model: ChatModel, history: Sequence[MetaStep], questions: Sequence[Question], *, first: int = 0
) -> list[Completion]:
    """Ask the model all questions at once; the number of the first one keeps the chance of later rounds apart.

    Raises:
        Exception: whatever the model raised first; the other calls were waited for.
    """
    replies = await asyncio.gather(
        *(
            ask(model, _messages(question), call_about(history, number, question.role))
            for number, question in enumerate(questions, start=first)
        ),
        return_exceptions=True,
    )
    for reply in replies:
        if isinstance(reply, BaseException):
            raise reply
    return [reply for reply in replies if isinstance(reply, Completion)]


async def ask_once(model: ChatModel, history: Sequence[MetaStep], instructions: str, text: str) -> Completion:
    """Ask the model one question about the history."""
    (completion,) = await ask_all(model, history, [Question(instructions, text)])
    return completion


def memory_of(history: Sequence[MetaStep]) -> Any:
    """Return the memory that the last reflection left; None at the first one."""
    reflection = history[-1].reflection
    return None if reflection is None else reflection.memory


def write(
    history: Sequence[MetaStep],
    prompt: str,
    memory: Any,
    completions: Sequence[Completion] = (),
    *,
    analysis: str = "",
    model: ChatModel | None = None,
) -> Reflection:
    """Return the reflection with the next prompt and memory; where the prompt is none, `keep` what was there."""
    if problem := PromptSpace().problem(prompt):
        return keep(history, f"The new prompt is none ({problem})", completions, analysis=analysis, model=model)
    return Reflection(
        prompt=prompt,
        memory=memory,
        analysis=analysis,
        completion=_joined(completions),
        scripted=is_scripted(model),
    )


def keep(
    history: Sequence[MetaStep],
    problem: str,
    completions: Sequence[Completion] = (),
    *,
    analysis: str = "",
    model: ChatModel | None = None,
) -> Reflection:
    """Return the reflection that leaves prompt and memory as they were, and says why; no problem, no why."""
    return Reflection(
        prompt=history[-1].prompt,
        memory=memory_of(history),
        problem=f"{problem}; the old prompt was kept." if problem else "",
        analysis=analysis,
        completion=_joined(completions),
        scripted=is_scripted(model),
    )


def is_scripted(model: ChatModel | None) -> bool:
    """Whether the model is a scripted stand-in."""
    return extension_of(model).scripted


def has_succeeded(trajectory: Trajectory) -> bool:
    """Whether the episode succeeded; where its environment reports no success, whether its score is 1 or more."""
    if trajectory.success is not None:
        return trajectory.success and trajectory.score is not None
    return trajectory.score is not None and trajectory.score >= 1.0


def _messages(question: Question) -> list[Message]:
    return [{"role": "system", "content": question.instructions}, {"role": "user", "content": question.text}]


def _joined(completions: Sequence[Completion]) -> Completion | None:
    """Return the replies of one reflection as one record: their texts one after another, their usage summed."""
    if len(completions) <= 1:
        return completions[0] if completions else None
    cut = [item for item in completions if item.finish_reason == "length"]
    return Completion(
        text="\n\n---\n\n".join(item.text for item in completions),
        reasoning="\n\n---\n\n".join(item.reasoning for item in completions if item.reasoning),
        finish_reason=(cut or completions)[0].finish_reason,
        usage=sum_usage(item.usage for item in completions),
        model=completions[0].model,
    )
