"""Where inner environments live: in this process, or in worker processes. They know nothing of actors or prompts."""

from metagym.workers.hosting import Frame, InnerEnv, WorkerLostError, Workers
from metagym.workers.local import LocalWorkers
from metagym.workers.process import ProcessWorkers

__all__ = ["Frame", "InnerEnv", "LocalWorkers", "ProcessWorkers", "WorkerLostError", "Workers"]
