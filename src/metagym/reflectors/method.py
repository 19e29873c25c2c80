"""The base class of all methods: options as fields, one fingerprint, and how a method asks, writes or keeps a prompt.

A method's memory is a JSON value in its last reflection. If a reply cannot be used, prompt and memory do not change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from numbers import Integral
from typing import Any, ClassVar, NamedTuple

from metagym.errors import ConfigError
from metagym.models import Call, ask
from metagym.optional_attributes import Extension, describe, extension_of
from metagym.reflectors.protocol import History as History
from metagym.reflectors.protocol import wait_for_all
from metagym.spaces import PromptSpace
from metagym.types import Completion, Message, Reflection, Trajectory, derive_seed, sum_usage

EPISODES_SHARE = 0.75
"""The share of a small context, without the reply, that episodes may take: the rest is for prompt and instructions."""


class ModelRequest(NamedTuple):
    """One model call of a reflection."""

    instructions: str
    text: str
    role: str = "reflector"

    @property
    def messages(self) -> list[Message]:
        """The conversation: the instructions as the system prompt, and the text."""
        return [{"role": "system", "content": self.instructions}, {"role": "user", "content": self.text}]


def option(default: Any, *, least: int) -> Any:
    """Return a dataclass field for an option that must be at least `least`."""
    return field(default=default, metadata={"least": least})


@dataclass(eq=False, repr=False)
class ReflectionMethod(Extension):
    """A reflector whose fields are its model and its options.

    A subclass is a dataclass as well. All of its fields are in the fingerprint, except those with `compare=False`.
    Its option `max_tokens`, if it has one, is lowered to what fits into the model's context, if that is known.

    >>> from metagym.testing import FakeChatModel
    >>> @dataclass(eq=False, repr=False)
    ... class Notebook(ReflectionMethod):
    ...     size: int = option(10, least=1)
    >>> Notebook(FakeChatModel([]), size=3).fingerprint
    {'kind': 'Notebook', 'model': {'kind': 'FakeChatModel'}, 'size': 3}
    """

    model: Any = field()  # not the default None of Extension: a method needs its model, unless it says otherwise
    wording: ClassVar[tuple[str, ...]] = ()
    """The instructions that the method gives to its model and that no option changes."""

    def __post_init__(self) -> None:
        about = extension_of(self.model)
        self.scripted = about.scripted
        for item in fields(self):
            value, least = getattr(self, item.name), item.metadata.get("least")
            if item.type in ("int", int) and (not isinstance(value, Integral) or isinstance(value, bool)):
                raise ConfigError(f"{item.name} must be a whole number, got {value!r}.")
            if least is not None and value < least:
                raise ConfigError(f"{item.name} must be at least {least}, got {value}.")
            if item.name == "max_tokens" and about.context_tokens is not None:
                room = about.context_tokens - (about.max_reply_tokens or 0)
                setattr(self, item.name, max(100, min(value, int(room * EPISODES_SHARE))))

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Everything that decides the output: the class, the model, the options and the wording."""
        options = {item.name: getattr(self, item.name) for item in fields(self) if item.compare}
        if "model" in options:
            options["model"] = describe(self.model)
        return {"kind": type(self).__name__, **options, **({"wording": [*self.wording]} if self.wording else {})}

    async def ask_all(self, history: History, requests: Sequence[ModelRequest], *, first: int = 0) -> list[Completion]:
        """Send all requests to the model at once. Each has its own seed, which follows from its number.

        Later rounds of a reflection pass the number of their first request as `first`. If calls fail, the first error
        is raised after all calls have ended.
        """
        return await wait_for_all(
            ask(self.model, request.messages, call_about(history, number, request.role))
            for number, request in enumerate(requests, start=first)
        )

    async def ask_once(self, history: History, instructions: str, text: str) -> Completion:
        """Send one request about the history to the model."""
        (completion,) = await self.ask_all(history, [ModelRequest(instructions, text)])
        return completion

    def write(
        self, history: History, prompt: str, memory: Any, completions: Sequence[Completion] = (), *, analysis: str = ""
    ) -> Reflection:
        """Return the reflection with the next prompt and memory; if the prompt is invalid, `keep` the old ones."""
        if problem := PromptSpace().problem(prompt):
            return self.keep(history, f"The new prompt is invalid ({problem})", completions, analysis=analysis)
        return Reflection(
            prompt=prompt, memory=memory, analysis=analysis, completion=_joined(completions), scripted=self.scripted
        )

    def keep(
        self, history: History, problem: str, completions: Sequence[Completion] = (), *, analysis: str = ""
    ) -> Reflection:
        """Return the reflection that changes neither prompt nor memory; `problem` says why, or is empty."""
        return Reflection(
            prompt=history[-1].prompt,
            memory=memory_of(history),
            problem=f"{problem}; the old prompt was kept." if problem else "",
            analysis=analysis,
            completion=_joined(completions),
            scripted=self.scripted,
        )


@dataclass(eq=False, repr=False)
class FixedReflector(ReflectionMethod):
    """Never changes the prompt: the simplest null control."""

    model: None = field(default=None, init=False, compare=False)

    async def reflect(self, history: History) -> Reflection:
        """Return the last prompt."""
        return Reflection(prompt=history[-1].prompt, analysis="No reflection.")


def call_about(history: History, number: int = 0, role: str = "reflector") -> Call:
    """Return the call that reflects on the history. Its seed follows from the episodes played and from `number`."""
    last = history[-1]
    # The episodes' seeds differ between arms and runs, and so does the call's seed.
    seed = derive_seed("reflector", last.index, *(item.episode.seed for item in last.trajectories))
    arm = last.trajectories[0].episode.arm if last.trajectories else ""
    own = derive_seed(seed, "call", number) if number else seed
    return Call(role=role, arm=arm, meta_step=last.index, seed=own, repetition=number)


def memory_of(history: History) -> Any:
    """Return the memory in the last reflection; None before the first one."""
    reflection = history[-1].reflection
    return None if reflection is None else reflection.memory


def has_succeeded(trajectory: Trajectory) -> bool:
    """Return whether the episode succeeded: as its environment reports, or if it does not, by a score of at least 1."""
    if trajectory.score is None:
        return False
    return trajectory.score >= 1.0 if trajectory.success is None else trajectory.success


def _joined(completions: Sequence[Completion]) -> Completion | None:
    if len(completions) <= 1:
        return completions[0] if completions else None
    cut = [item for item in completions if not item.is_whole]
    return Completion(
        text="\n\n---\n\n".join(item.text for item in completions),
        reasoning="\n\n---\n\n".join(item.reasoning for item in completions if item.reasoning),
        finish_reason=(cut or completions)[0].finish_reason,
        usage=sum_usage(item.usage for item in completions),
        model=completions[0].model,
    )
