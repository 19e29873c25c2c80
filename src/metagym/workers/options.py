"""The option `workers`: its legal values, and the workers that each value makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from metagym.errors import ConfigError, config_error
from metagym.workers.local import LocalWorkers
from metagym.workers.process import ProcessWorkers
from metagym.workers.protocol import MakeEnv, ProcessLimits, RemoteWorkers, Workers
from metagym.workers.ray import RayWorkers


class WorkerOptions(ProcessLimits):
    """The mapping that the option `workers` takes: the kind of workers, and the limits of each process.

    >>> WorkerOptions(processes=4, step_timeout_s=20).step_timeout_s
    20.0
    """

    processes: int | None = Field(default=None, ge=1)
    """Number of worker processes on this machine."""
    ray: Annotated[int, Field(ge=1)] | Literal["all"] | None = None
    """Number of hosts on a Ray cluster; `all` means one for each CPU."""

    @model_validator(mode="after")
    def _check_kind(self) -> WorkerOptions:
        if (self.processes is None) == (self.ray is None):
            raise ConfigError(
                "workers expects one of 'processes' and 'ray' in its mapping, such as {'processes': 4}, "
                f"got processes={self.processes!r} and ray={self.ray!r}."
            )
        return self


def read_workers(value: object) -> str | int | WorkerOptions:
    """Return `value` if it is a legal value of the option `workers`, with a mapping as `WorkerOptions`."""
    if isinstance(value, WorkerOptions) or value in ("local", "ray"):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    if not isinstance(value, Mapping):
        raise ConfigError(
            "workers expects 'local', 'ray', a number of processes (at least 1), or a mapping such as "
            f"{{'processes': 4, 'step_timeout_s': 20}}, got {value!r}."
        )
    try:
        return WorkerOptions.model_validate(dict(value))
    except ValidationError as error:
        raise config_error(error, "key of workers", WorkerOptions.model_fields) from None


def make_workers(
    options: str | int | WorkerOptions, make_env: MakeEnv, picklable: Callable[[], MakeEnv]
) -> Workers | RemoteWorkers:
    """Make the workers that `options` name: in this process with `make_env`, else with the result of `picklable`."""
    if options == "local":
        return LocalWorkers(make_env)
    if isinstance(options, int):
        return ProcessWorkers(picklable(), options)
    if not isinstance(options, WorkerOptions):
        return RayWorkers(picklable())
    if options.processes is not None:
        return ProcessWorkers(picklable(), options.processes, options)
    return RayWorkers(picklable(), None if options.ray == "all" else options.ray, options)
