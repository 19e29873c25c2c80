"""The nouns: frozen records with a JSON round trip, and the digests and seeds that follow from data.

    Task -> Episode -> [Observation, Action -> Step]* -> Trajectory -> MetaStep -> Reflection

`Trajectory.model_validate_json(text)` reads the text of `model_dump_json()`, equal. No record holds a measured time.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any, ClassVar, Final, Literal, NotRequired, TypedDict, TypeVar

from pydantic import BaseModel, ConfigDict

from metagym.types.plain_values import Display, Finite
from metagym.types.plain_values import Json as Json
from metagym.types.plain_values import SharedJson as SharedJson
from metagym.types.plain_values import Text as Text
from metagym.types.plain_values import Texts as Texts
from metagym.types.plain_values import clean_text as clean_text

WHOLE_REASONS: Final = frozenset(
    {"stop", "tool_calls", "end_turn", "eos", "eos_token", "stop_sequence", "complete", "completed", "finished", "done"}
)
"""Names of the end of a whole reply. Any other end is a reply that was cut off, filtered or failed."""
SCHEMA_VERSION: Final = 1
"""The version of the records' layout; written into every stored record."""


def digest(value: Any, *, length: int = 16) -> str:
    """Return a hex digest of a JSON value; equal values give equal digests in any process."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def derive_seed(*parts: int | str) -> int:
    """Return a seed from the parts, in [0, 2**31): the range that servers and generators accept."""
    return int(digest(list(parts), length=8), 16) >> 1


def step_seed(episode_seed: int, step: int) -> int:
    """Return the seed of one step of an episode; much faster than `derive_seed`."""
    return int.from_bytes(hashlib.sha256(b"%d/%d" % (episode_seed, step)).digest()[:4]) >> 1


class Record(BaseModel):
    """Base of all records: immutable, strict about unknown fields, and read back equal from JSON.

    JSON has no infinity and no NaN: a field that may hold one (a log-probability, say) is written as a text.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, ser_json_inf_nan="strings")
    draw_html: ClassVar[Callable[[Record], str | None] | None] = None
    """Draws records for notebooks. A layer above sets it, so that records need not import one."""

    def _repr_html_(self) -> str | None:
        """Return the record as HTML for a notebook; None lets the notebook show the text form."""
        return None if Record.draw_html is None else Record.draw_html(self)


AnyRecord = TypeVar("AnyRecord", bound=Record)


def compact(record: AnyRecord) -> AnyRecord:
    """Return the record, with its own set of given fields replaced by one set that its class shares.

    The record's own set takes up to 728 bytes, a third of a kept step, and nothing in metagym reads it.
    """
    object.__setattr__(record, "__pydantic_fields_set__", _fields_of(type(record)))
    return record


@functools.cache
def _fields_of(cls: type[Record]) -> set[str]:
    return set(cls.model_fields)


class Message(TypedDict):
    """One chat message, as the OpenAI protocol has it."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    """The text; empty if an assistant's message holds only calls."""
    tool_calls: NotRequired[list[dict[str, Any]]]
    """An assistant's calls of tools."""
    tool_call_id: NotRequired[str]
    """The id of the call whose result a message of the role `tool` holds."""
    reasoning_content: NotRequired[str]
    """An assistant's reasoning; sent only to servers that ask for it."""


class Task(Record):
    """One instance of the inner environment (a game, a level). Data only."""

    id: Text
    """Name of the task within its environment; never shown to a model."""
    family: Text
    """The kind of task; results are reported by family."""
    split: Text = ""
    """The role of the task's content: `train`, `validation` or `test`. If it is empty, the task set fills it in."""
    seed: int
    """Seed of the inner environment; shared by all arms of a comparison."""
    source: Text = ""
    """The source of the task, if there are several (such as folders of games)."""
    digest: Text = ""
    """Digest of the task's content. Equal content gives an equal digest and an equal role."""
    kind: Text = ""
    """A kind within the family, if there are kinds: memorisation is then measured on fresh tasks of that kind."""


class Usage(Record):
    """Tokens and calls of a language model."""

    prompt_tokens: int = 0
    """Tokens that were sent."""
    cached_tokens: int = 0
    """The part of `prompt_tokens` that the server took from its cache."""
    completion_tokens: int = 0
    """Tokens of the replies, as the server counts them."""
    num_calls: int = 0
    """Calls that were answered."""

    def __add__(self, other: Usage) -> Usage:
        return sum_usage((self, other))


def sum_usage(usages: Iterable[Usage]) -> Usage:
    """Return the sum, field by field."""
    usages = tuple(usages)
    return Usage(**{name: sum(getattr(usage, name) for usage in usages) for name in Usage.model_fields})


class Completion(Record):
    """A chat model's complete reply."""

    text: Text
    """The reply, without its reasoning."""
    reasoning: Text = ""
    """The reasoning of a reasoning model before the reply; not a part of the reply."""
    finish_reason: Text = "stop"
    """`stop`, `length` (cut off), `content_filter`, `tool_calls`, or the server's own word."""
    usage: Usage = Usage()
    """Tokens of this reply."""
    model: Text = ""
    """The model's name as the server gave it, if it differs from the requested one."""
    constraint: Text = ""
    """The server's means that held the reply to a form (such as `grammar`); empty if it was not held."""
    token_ids: tuple[int, ...] | None = None
    """The reply's tokens, if the server gives them."""
    logprobs: tuple[float, ...] | None = None
    """One log-probability for each token, if the server gives them."""
    tool_calls: Texts = ()
    """Calls of tools in the reply, each as the server's JSON."""

    @property
    def is_whole(self) -> bool:
        """Whether the reply ended by itself; a reply that did not is never read."""
        return self.finish_reason.lower() in WHOLE_REASONS


class Episode(Record):
    """A task, played under a prompt, with its own random seed."""

    prompt: Text
    """The system prompt."""
    task: Task
    """The task."""
    seed: int
    """Seed of the model's sampling and of any random actor; derived from (run seed, arm, task, repetition) alone."""
    repetition: int = 0
    """How many times this arm has played this task before."""
    arm: Text = ""
    """Name of the arm of a comparison; arms never share model noise."""
    meta_step: int = 0
    """Index of the meta-step that the episode belongs to."""

    @property
    def key(self) -> tuple[int, str, str, int]:
        """Identity of the episode within a meta-episode: (meta_step, arm, task id, repetition)."""
        return (self.meta_step, self.arm, self.task.id, self.repetition)


class Observation(Record):
    """What the actor sees before it acts."""

    text: Text
    """The text of the inner environment."""
    goal: Text = ""
    """The goal of the task, if the inner environment states one."""
    available_actions: Texts | None = None
    """The commands that the inner environment accepts now; None if any text may be tried."""
    feedback: Text = ""
    """Why the previous action was not executed; empty if it was."""
    display: Display = None
    """JSON for viewers, such as the colours of a map. No model sees it."""
    tools: tuple[SharedJson, ...] | None = None
    """Schemas of the tools that may be called from now on; None if they are as before, or if there are no tools."""


class Action(Record):
    """The actor's decision, and how it was made."""

    text: Text | None
    """The command as the actor gave it; None if its reply could not be read."""
    thought: Text = ""
    """The actor's text before the action."""
    problem: Text = ""
    """Why the reply could not be read; empty if it could."""
    completion: Completion | None = None
    """The model's raw reply; None for an actor without a model."""
    prompt_read: Text | None = None
    """The system prompt that was sent, if `read_prompt` made it differ from the episode's."""


class Step(Record):
    """One turn: observation, action, executed command, reward."""

    observation: Observation
    """The observation *before* the action."""
    action: Action
    """The actor's decision."""
    command: Text | None
    """The command that was executed; None if no command was."""
    is_valid: bool
    """Whether the action could be read and was available."""
    reward: Finite
    """The inner environment's reward; 0 if nothing was executed."""
    events: Texts = ()
    """What the inner environment did by itself within the step, such as keys it pressed for the agent."""


class StopReason(StrEnum):
    """Why an episode ended."""

    TERMINATED = "terminated"
    """The inner environment ended it: success or defeat."""
    TRUNCATED = "truncated"
    """The inner environment's own limit ended it."""
    STEP_LIMIT = "step limit"
    """The engine's `max_steps` was reached; invalid actions count."""
    CONTENT_FILTER = "content filter"
    """The server's content filter refused the conversation."""
    CONTEXT_OVERFLOW = "context overflow"
    """The conversation no longer fitted into the model's context."""
    ERROR = "error"
    """It failed for infrastructure reasons, not because of the agent; it is left out of the mean."""


class Trajectory(Record):
    """The record of one episode."""

    schema_version: Literal[1] = SCHEMA_VERSION
    """The version of the layout."""
    episode: Episode
    """The episode that was played."""
    steps: tuple[Step, ...]
    """The turns, in order."""
    final_observation: Observation | None
    """The observation after the last step; None if the episode failed."""
    stop_reason: StopReason
    """Why it ended."""
    stop_detail: Text = ""
    """The end in the inner environment's own words (`reached the stairs`, `died`, ...)."""
    success: bool | None = None
    """Whether the goal was reached; None if the inner environment does not report it."""
    progress: Finite | None = None
    """How much of the goal was reached at the end, from 0 to 1; None if the inner environment does not report it."""
    score: Finite | None = None
    """The episode's number in the mean; None if it failed for infrastructure reasons."""
    usage: Usage = Usage()
    """Tokens and calls of the actor."""
    error: Text = ""
    """The failure, if `stop_reason` is `error`, with the line of your own code that it came from."""
    traceback: Text = ""
    """The part of the failure's traceback that is your own code and the calls from it; empty if it was not in there."""
    scripted: bool = False
    """Whether a script played; such a record is no evidence about language models."""
    actor_revision: Text = ""
    """The version of the actor that played, if an outer trainer changes it."""

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
        """Number of actions that could not be read or were not available."""
        return sum(not step.is_valid for step in self.steps)


class Reflection(Record):
    """A reflector's output after a meta-step."""

    prompt: Text
    """The next system prompt."""
    analysis: Text = ""
    """The reflector's own account of what went well, what went wrong, and why."""
    problem: Text = ""
    """Why the reply could not be used and the old prompt was kept; empty if it was used."""
    memory: Json = None
    """The reflector's memory as a JSON value: it is kept here, never inside the reflector."""
    completion: Completion | None = None
    """The model's raw reply; None for a reflector without a model."""
    scripted: bool = False
    """Whether a script wrote it."""
    task_reads: Texts = ()
    """Fields of `task` (such as `family` or `seed`) that a reflector in Python read. No model sees any of them."""


class MetaStep(Record):
    """Prompt in, batch of trajectories and mean score out."""

    schema_version: Literal[1] = SCHEMA_VERSION
    """The version of the layout."""
    index: int
    """Position in the meta-episode, from 0."""
    prompt: Text
    """The system prompt that the batch was played under."""
    trajectories: tuple[Trajectory, ...]
    """The batch, in the order of its tasks."""
    reward: float | None
    """Mean score of the trajectories that did not fail; None if all failed."""
    reflection: Reflection | None = None
    """The reflection that wrote this prompt; None for the first prompt."""

    @property
    def scores(self) -> tuple[float | None, ...]:
        """One score for each trajectory; None if it failed for infrastructure reasons."""
        return tuple(trajectory.score for trajectory in self.trajectories)

    @property
    def num_failed(self) -> int:
        """Number of trajectories that failed for infrastructure reasons."""
        return sum(trajectory.score is None for trajectory in self.trajectories)

    @property
    def scripted(self) -> bool:
        """Whether a script was the actor or the reflector."""
        by_reflector = self.reflection is not None and self.reflection.scripted
        return by_reflector or any(trajectory.scripted for trajectory in self.trajectories)
