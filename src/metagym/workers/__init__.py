"""Where inner environments live: here, in worker processes, or on a cluster. They know nothing of actors or prompts."""

from metagym.workers.hosting import Frame, InnerEnv, Player, Seat, SeatWorkers, WorkerLostError, Workers
from metagym.workers.local import LocalWorkers
from metagym.workers.process import ProcessWorkers
from metagym.workers.ray import RayWorkers

__all__ = [
    "Frame",
    "InnerEnv",
    "LocalWorkers",
    "Player",
    "ProcessWorkers",
    "RayWorkers",
    "Seat",
    "SeatWorkers",
    "WorkerLostError",
    "Workers",
]
