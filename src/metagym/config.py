"""The play of a meta-environment: the options of `gym.make` in addition to the actor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from metagym.budget import Budget
from metagym.errors import ConfigError, config_error
from metagym.types import Record, Task, Text, Texts
from metagym.workers import WorkerOptions, read_workers


class RolloutConfig(Record):
    """How episodes are played."""

    max_steps: int = Field(default=25, ge=1)
    """Turns an episode may take; actions that cannot be executed count, so that no episode is endless."""
    max_concurrency: int = Field(default=64, ge=1)
    """Episodes in flight at once."""
    attempts: int = Field(default=2, ge=1)
    """How often an episode is started if its inner environment fails. A model has its own retries."""
    invalid: Literal["reject", "execute"] = "reject"
    """An action that is not available: `reject` it with feedback to the actor, or `execute` it all the same."""
    score: Literal["success", "progress"] = "success"
    """An episode's score: `success`, 1 or 0 (the return if the inner environment reports no success); or `progress`,
    the share of the goal that was reached, for a weak actor that never reaches all of it."""


class MetaEnvConfig(RolloutConfig):
    """The play of a meta-environment: all options of `gym.make` except the actor."""

    families: Texts | None = None
    """Families (or groups of them) whose tasks are played; None means all."""
    split: Text = "train"
    """The role of the tasks: `train`, `validation` or `test`; or a source, which means all that is in it."""
    episodes_per_step: int = Field(default=5, ge=1)
    """Tasks in a batch."""
    schedule: str | Callable[..., Sequence[Task]] = "fresh"
    """Which tasks the next meta-step plays: `fresh`, `same`, `blocked`, or a callable."""
    success_threshold: float | None = None
    """The meta-episode terminates at this mean score; None means never."""
    max_failure_rate: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of a batch that may fail for infrastructure reasons before `step` raises."""
    allow_bad_batches: bool = False
    """Whether to continue after a batch in which every reply was cut off, empty, invalid or refused."""
    workers: Annotated[int | Text | WorkerOptions, BeforeValidator(read_workers)] = "local"
    """The place of inner environments: `local`, this process; N, that number of worker processes; `ray`, a Ray cluster;
    or a mapping with limits, such as `{"processes": 4, "step_timeout_s": 20}` (see `metagym.workers.WorkerOptions`)."""
    arm: Text = ""
    """Names this arm of a comparison; arms never share model noise."""
    budget: Budget = Budget()
    """The limits of the environment's usage: `tokens`, `calls`, `cost` (of model calls) and `episodes`."""


def read_options(options: Mapping[str, Any]) -> MetaEnvConfig:
    """Return the configuration that keyword options ask for."""
    families = options.get("families")
    if isinstance(families, str):
        raise ConfigError(f"families must be a list of names, got the text {families!r}. Write [{families!r}].")
    try:
        return MetaEnvConfig(**options)
    except ValidationError as error:
        raise config_error(error, "option", sorted(MetaEnvConfig.model_fields)) from None
