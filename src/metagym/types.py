"""The nouns: frozen records with a JSON round trip. They know no behaviour.

    Task -> Episode -> [Observation, Action -> Step]* -> Trajectory -> MetaStep -> Reflection

Every record goes to JSON by `record.model_dump_json()` and comes back, equal, by
`Trajectory.model_validate_json(text)`. Nothing measured by a clock stands in a record.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, Literal, TypedDict, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, SkipValidation

SCHEMA_VERSION: Final = 1
"""The version of the records' layout; written into every stored record."""


def clean_text(text: str) -> str:
    """Return `text` with what UTF-8 cannot encode (lone surrogates) replaced by U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _clean_texts(texts: tuple[str, ...]) -> tuple[str, ...]:
    return texts if all(map(str.isascii, texts)) else tuple(map(clean_text, texts))


# A lone surrogate passes pydantic and then breaks the dump to JSON: it is replaced on the way in.
Text = Annotated[str, AfterValidator(clean_text)]
Texts = Annotated[tuple[str, ...], AfterValidator(_clean_texts)]


def _clean_json(value: Any) -> Any:
    """Return a JSON value as it comes back from a file, so that a record equals its round trip."""
    return value if value is None else json.loads(clean_text(json.dumps(value, ensure_ascii=False)))


Json = Annotated[Any, AfterValidator(_clean_json)]


class Record(BaseModel):
    """Base of all records: immutable, and strict about unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
    draw_html: ClassVar[Callable[[Record], str | None] | None] = None
    """Draws records for notebooks. A layer above sets it, so that records know no drawer."""

    def _repr_html_(self) -> str | None:
        """Return what a notebook shows; None lets it show the text form."""
        return None if Record.draw_html is None else Record.draw_html(self)


AnyRecord = TypeVar("AnyRecord", bound=Record)


def compact(record: AnyRecord) -> AnyRecord:
    """Return the record, with its class's set of fields for its own set of those that were given.

    That set takes up to 728 bytes of each record, a third of a step that is kept, and nothing here asks for it.
    """
    object.__setattr__(record, "__pydantic_fields_set__", _fields_of(type(record)))
    return record


@functools.cache
def _fields_of(cls: type[Record]) -> set[str]:
    return set(cls.model_fields)


class Message(TypedDict):
    """One chat message, as the OpenAI protocol has it."""

    role: Literal["system", "user", "assistant"]
    content: str


class Task(Record):
    """One instance of the inner environment (a game, a level). Data only."""

    id: str
    """Names the task within its environment; never shown to a model."""
    family: str
    """The kind of task, by which results are reported."""
    split: str = ""
    """The role of the task's content: `train`, `validation` or `test`. Left empty, a task set fills it in."""
    seed: int
    """Fixes the inner environment; shared by all arms of a comparison."""
    source: str = ""
    """Where the task comes from, where there are several places (a folder of games, say)."""
    digest: str = ""
    """Digest of the task's content. Equal content, equal digest, equal role."""


class Usage(Record):
    """Tokens and calls of a language model."""

    prompt_tokens: int = 0
    """What was sent."""
    cached_tokens: int = 0
    """The part of `prompt_tokens` that the server took from its cache."""
    completion_tokens: int = 0
    """What came back, as the server counts it."""
    num_calls: int = 0
    """Calls that were answered."""

    def __add__(self, other: Usage) -> Usage:
        return sum_usage((self, other))


def sum_usage(usages: Iterable[Usage]) -> Usage:
    """Return the sum; of nothing, zero."""
    prompt_tokens = cached_tokens = completion_tokens = num_calls = 0
    for usage in usages:
        prompt_tokens += usage.prompt_tokens
        cached_tokens += usage.cached_tokens
        completion_tokens += usage.completion_tokens
        num_calls += usage.num_calls
    return Usage(
        prompt_tokens=prompt_tokens,
        cached_tokens=cached_tokens,
        completion_tokens=completion_tokens,
        num_calls=num_calls,
    )


class Completion(Record):
    """A chat model's reply, whole."""

    text: Text
    """What it says, without its reasoning."""
    reasoning: Text = ""
    """What a reasoning model thought before the reply; no part of the reply."""
    finish_reason: str = "stop"
    """`stop`, `length` (the reply was cut off), or the server's own word."""
    usage: Usage = Usage()
    """What it took."""
    model: Text = ""
    """The model's name as the server gave it, where it is not the one that was asked for."""
    token_ids: tuple[int, ...] | None = None
    """The reply's tokens, where the server gives them."""
    logprobs: tuple[float, ...] | None = None
    """One log-probability a token, where the server gives them."""


class Episode(Record):
    """What is to be played: a task, under a prompt, with its own chance."""

    prompt: Text
    """The system prompt."""
    task: Task
    """What is played."""
    seed: int
    """Feeds the model's sampling and any stochastic actor. From (run seed, arm, task, repetition) alone."""
    repetition: int = 0
    """How many times this arm has played this task before."""
    arm: str = ""
    """Which arm of a comparison plays; arms never share model noise."""
    meta_step: int = 0
    """Index of the meta-step that the episode belongs to."""

    @property
    def key(self) -> tuple[int, str, str, int]:
        """Names the episode within a meta-episode: (meta_step, arm, task id, repetition)."""
        return (self.meta_step, self.arm, self.task.id, self.repetition)


class Observation(Record):
    """What the actor sees before it acts."""

    text: Text
    """What the inner environment says."""
    goal: Text = ""
    """What the task asks for, where the inner environment says it."""
    available_actions: Texts | None = None
    """The commands that the inner environment takes now; None where any text may be tried."""
    feedback: Text = ""
    """Why the previous action was not executed; empty where it was."""
    display: Annotated[Any, SkipValidation] = None
    """JSON for viewers (map colours, say). No model sees it."""


class Action(Record):
    """What the actor decided, and how."""

    text: Text | None
    """The command as the actor gave it; None where its reply could not be read."""
    thought: Text = ""
    """What the actor said before it acted."""
    problem: Text = ""
    """Why the reply could not be read; empty where it could."""
    completion: Completion | None = None
    """The model's raw reply; None for an actor without a model."""
    prompt_read: Text | None = None
    """The system prompt really sent, where `read_prompt` made it differ from the episode's."""


class Step(Record):
    """One turn: what was seen, what was decided, what was executed, what it gave."""

    observation: Observation
    """As it was *before* the action."""
    action: Action
    """What was decided."""
    command: Text | None
    """The command really executed; None where none was."""
    is_valid: bool
    """Whether the action could be read and was available."""
    reward: float
    """What the inner environment gave; 0 where nothing was executed."""
    events: Texts = ()
    """What the inner environment did by itself within the step (keys pressed for the agent, say)."""


class StopReason(StrEnum):
    """Why an episode ended."""

    TERMINATED = "terminated"
    """The inner environment ended it: success or defeat."""
    TRUNCATED = "truncated"
    """The inner environment's own limit cut it off."""
    STEP_LIMIT = "step limit"
    """The engine's `max_steps` was reached; invalid actions count."""
    CONTEXT_OVERFLOW = "context overflow"
    """The conversation no longer fitted into the model's context."""
    ERROR = "error"
    """The apparatus failed, not the agent; left out of the mean."""


class Trajectory(Record):
    """The record of one episode."""

    schema_version: Literal[1] = SCHEMA_VERSION
    """The layout that it is written in."""
    episode: Episode
    """What was to be played."""
    steps: tuple[Step, ...]
    """The turns, in order."""
    final_observation: Observation | None
    """What stood there after the last step; None where the inner environment never answered."""
    stop_reason: StopReason
    """Why it ended."""
    stop_detail: Text = ""
    """The inner environment's own word on the end (`reached the stairs`, `died`, ...)."""
    success: bool | None = None
    """Whether the goal was reached; None where the inner environment reports none."""
    score: float | None = None
    """The number in the mean; None where the apparatus failed."""
    usage: Usage = Usage()
    """Tokens and calls of the actor."""
    error: Text = ""
    """What failed, where `stop_reason` is `error`."""
    scripted: bool = False
    """Whether a scripted stand-in played; such a record says nothing about language models."""
    actor_revision: str = ""
    """Which version of the actor played, where an outer trainer changes it."""

    @property
    def task(self) -> Task:
        """The task that was played."""
        return self.episode.task

    @property
    def episode_return(self) -> float:
        """Sum of the rewards."""
        return sum(step.reward for step in self.steps)

    @property
    def num_invalid(self) -> int:
        """How many actions could not be read or were not available."""
        return sum(not step.is_valid for step in self.steps)


class Reflection(Record):
    """What a reflector wrote after a meta-step."""

    prompt: Text
    """The next system prompt."""
    analysis: Text = ""
    """What went well, what went wrong, and why, in the reflector's words."""
    problem: Text = ""
    """Why the reply could not be used and the old prompt was kept; empty where it was used."""
    memory: Json = None
    """The reflector's memory as a JSON value: it travels here, never inside the reflector."""
    completion: Completion | None = None
    """The model's raw reply; None for a reflector without a model."""
    scripted: bool = False
    """Whether a scripted stand-in wrote it."""


class MetaStep(Record):
    """Prompt in, batch of trajectories and mean score out."""

    schema_version: Literal[1] = SCHEMA_VERSION
    """The layout that it is written in."""
    index: int
    """Position in the meta-episode, from 0."""
    prompt: Text
    """The system prompt that the batch was played under."""
    trajectories: tuple[Trajectory, ...]
    """The batch, in the order of its tasks."""
    reward: float | None
    """Mean score of the trajectories that did not fail; None where all failed."""
    reflection: Reflection | None = None
    """The reflection that wrote this prompt; None for the first prompt."""

    @property
    def scores(self) -> tuple[float | None, ...]:
        """One score per trajectory; None where the apparatus failed."""
        return tuple(trajectory.score for trajectory in self.trajectories)

    @property
    def num_failed(self) -> int:
        """How many trajectories the apparatus failed on."""
        return sum(trajectory.score is None for trajectory in self.trajectories)

    @property
    def scripted(self) -> bool:
        """Whether a scripted stand-in had a part in it, as the actor or as the reflector."""
        by_reflector = self.reflection is not None and self.reflection.scripted
        return by_reflector or any(trajectory.scripted for trajectory in self.trajectories)
