"""The protocols that all workers share, and the results of an environment."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import gymnasium
from pydantic import Field

from metagym.errors import InnerEnvError
from metagym.types import Record, Task

MakeEnv = Callable[[], gymnasium.Env[str, str]]


class Frame(NamedTuple):
    """What an inner environment returns from a reset or a step."""

    text: str
    reward: float
    terminated: bool
    truncated: bool
    info: Mapping[str, Any]


class InnerEnv(Protocol):
    """One leased inner environment, in this process or in another one."""

    async def reset(self, task: Task) -> Frame:
        """Start `task`."""

    async def step(self, command: str) -> Frame:
        """Execute `command`."""


class Workers(Protocol):
    """Host inner environments, and lease each to one episode at a time."""

    def lease(self) -> contextlib.AbstractAsyncContextManager[InnerEnv]:
        """Lease an environment for one episode."""

    def close(self) -> None:
        """Close all environments. Calling it twice is fine."""


class RemoteRunner(Protocol):
    """Code that is sent to a remote host and runs requests there. It, its requests and its results are picklable."""

    async def __call__(self, request: Any, workers: Workers) -> Any:
        """Run `request` on an environment leased from the host's `workers`, and return the result."""

    async def aclose(self) -> None:
        """Close the connections that it opened on the host."""


class HostLease(Protocol):
    """The right to run one request on a remote host."""

    async def run(self, runner: RemoteRunner, request: Any) -> Any:
        """Run `request` on the host with `runner`, and return the result; WorkerLostError if the host was lost."""

    async def cancel(self) -> None:
        """Cancel the running request; `run` then returns the result that the runner still gives."""


@runtime_checkable
class RemoteWorkers(Protocol):
    """Host inner environments on other machines, and run whole requests next to them."""

    def lease_host(self) -> contextlib.AbstractAsyncContextManager[HostLease]:
        """Lease a host for one request."""

    def close(self) -> None:
        """End all hosts. Calling it twice is fine."""


class ProcessLimits(Record):
    """The limits of a worker process."""

    step_timeout_s: float = Field(default=300.0, gt=0)
    """Seconds that a reset or a step may take; a process that takes longer is killed and replaced."""
    start_timeout_s: float = Field(default=300.0, gt=0)
    """Seconds that the start of a process may take, with the imports of the script and of the environment."""
    memory_mib: int | None = Field(default=None, ge=1)
    """Address space of the process in MiB; an environment that needs more gets a MemoryError. None: no limit."""
    recycle_after: int | None = Field(default=None, ge=1)
    """Episodes after which the process is replaced by a new one, for environments that leak. None: never.
    Its last episode ends before the new one starts."""


class WorkerLostError(InnerEnvError):
    """A worker process died or was killed, and with it the environments it hosted."""

    is_culprit: bool = True
    """Whether a request of this episode, not of another one, was running when the process was lost."""
