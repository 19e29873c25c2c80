"""Hosts of inner environments: this process, worker processes, or a Ray cluster. They know no actors or prompts.

protocol  the protocols, and the results of an environment
local     HostedEnv: one environment, its results checked; LocalWorkers: environments in this process
process   ProcessWorkers: worker processes, killed and replaced if they hang or die (`serving`: the other end)
ray       RayWorkers: hosts on a Ray cluster, each with a worker process
options   the option `workers` of gym.make, and `make_workers`
"""

from metagym.workers.local import LocalWorkers
from metagym.workers.options import WorkerOptions, make_workers, read_workers
from metagym.workers.process import ProcessWorkers
from metagym.workers.protocol import (
    Frame,
    HostLease,
    InnerEnv,
    ProcessLimits,
    RemoteRunner,
    RemoteWorkers,
    WorkerLostError,
    Workers,
)
from metagym.workers.ray import RayWorkers

__all__ = [
    "Frame",
    "HostLease",
    "InnerEnv",
    "LocalWorkers",
    "ProcessLimits",
    "ProcessWorkers",
    "RayWorkers",
    "RemoteRunner",
    "RemoteWorkers",
    "WorkerLostError",
    "WorkerOptions",
    "Workers",
    "make_workers",
    "read_workers",
]
