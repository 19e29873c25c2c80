"""The exceptions. Each message says what was expected, what came, and what to do.

MetaGymError
├── ConfigError (ValueError)             an argument is wrong
│   ├── UnknownNameError                 no such id, family, split, task, preset
│   └── InvalidPromptError               the action is no prompt
├── MissingExtraError (ImportError)      an optional package is not installed
├── TasksExhaustedError (RuntimeError)   too few tasks are left for a meta-step
├── LeakError (RuntimeError)             a task that measures was seen by what learns or chooses
├── ContractError (AssertionError)       an environment is not as metagym expects it
├── RunFolderError (RuntimeError)        the run folder cannot be used as asked
└── InfrastructureError (RuntimeError)   what failed is not the agent
    ├── EpisodesFailedError              too many episodes of a meta-step failed; carries it
    ├── BudgetExceededError              the budget is spent; carries what was played
    ├── InnerEnvError                    the inner environment broke its contract
    └── ModelError                       the model server failed or refused
        ├── ContextOverflowError         the conversation is too long for the model
        └── ModelUnavailableError        no call can succeed: server down, wrong key, no such model
            └── CassetteMissError        a replay was asked for what was never recorded
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from metagym.types import MetaStep, Trajectory


class MetaGymError(Exception):
    """Base of every exception that metagym raises on purpose."""


class ConfigError(MetaGymError, ValueError):
    """An argument is wrong."""


class UnknownNameError(ConfigError):
    """A name that was asked for does not exist."""

    @classmethod
    def of(cls, kind: str, got: object, known: Iterable[str], *, remedy: str = "") -> UnknownNameError:
        """Build the message: what was expected, what came, and the nearest known names."""
        names = tuple(known)
        near = difflib.get_close_matches(str(got), names, n=3, cutoff=0.5)
        listed = ", ".join(map(repr, names[:8])) + (f", ... ({len(names)} in all)" if len(names) > 8 else "")
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        return cls(f"Unknown {kind} {got!r}: expected one of {listed}.{hint}{' ' + remedy if remedy else ''}")


class InvalidPromptError(ConfigError):
    """The action of a meta-environment is no prompt."""


class MissingExtraError(MetaGymError, ImportError):
    """An optional package is not installed."""


class TasksExhaustedError(MetaGymError, RuntimeError):
    """Too few tasks are left for another meta-step."""


class LeakError(MetaGymError, RuntimeError):
    """A task that is to measure was seen by what learns or chooses: the measurement would say nothing."""


class ContractError(MetaGymError, AssertionError):
    """An environment is not as metagym expects it."""


class RunFolderError(MetaGymError, RuntimeError):
    """The run folder cannot be used as asked."""


class InfrastructureError(MetaGymError, RuntimeError):
    """The apparatus failed, not the agent: such an episode never counts in a mean."""

    history: tuple[MetaStep, ...] = ()
    """The meta-steps that a loop had finished before."""
    stops_run: ClassVar[bool] = False
    """Whether nothing that follows can succeed either, so that no further episode is begun."""


class EpisodesFailedError(InfrastructureError):
    """More episodes of a meta-step failed than `max_failure_rate` allows."""

    meta_step: MetaStep | None
    """The partial meta-step: everything that was played."""
    meta_steps: tuple[MetaStep, ...] = ()
    """From a vector environment: the meta-steps of all its prompts."""

    def __init__(self, message: str, meta_step: MetaStep | None = None) -> None:
        super().__init__(message)
        self.meta_step = meta_step


class BudgetExceededError(InfrastructureError):
    """The budget leaves no room for the next call. What was played is kept; a larger budget goes on from there."""

    stops_run = True
    trajectories: tuple[Trajectory, ...] = ()
    """The batch as far as it was played; an episode that was not finished has no score."""
    meta_step: MetaStep | None = None
    """The partial meta-step, where a meta-environment was playing one."""
    ledger: object = None
    """The ledger whose budget it was: a method's own account, or the run's."""


class InnerEnvError(InfrastructureError):
    """The inner environment broke its contract."""


class ModelError(InfrastructureError):
    """The model server failed or refused, or its answer is none."""


class ContextOverflowError(ModelError):
    """The conversation is too long for the model's context. In an episode this is data, not a failure."""


class ModelUnavailableError(ModelError):
    """No call can succeed: the server is down, or refuses the key or the model. It stops the run."""

    stops_run = True


class CassetteMissError(ModelUnavailableError):
    """A replay was asked for an exchange that the cassette does not hold."""
