"""metagym: Gymnasium environments whose action is a system prompt.

Importing it registers the ids `MetaGym/...`; environments and models are imported when they are used.
"""

import sys
from typing import TYPE_CHECKING, Any

if sys.version_info < (3, 11):  # noqa: UP036 - a checkout on the path is not held back by its metadata
    raise ImportError(
        f"metagym needs Python 3.11 or later, got {sys.version.split()[0]}. Make an environment with a newer one: "
        "python3.11 -m venv .venv"
    )

from gymnasium.envs.registration import register

from metagym._version import __version__
from metagym.errors import MetaGymError

if TYPE_CHECKING:
    from metagym.actor import Actor, ChatActor, RandomActor
    from metagym.adapter import TextAdapter
    from metagym.env import MetaEnv
    from metagym.envs.alfworld.meta import ALFWorldMetaEnv
    from metagym.envs.gates.meta import GatesMetaEnv
    from metagym.envs.minihack.meta import MiniHackMetaEnv
    from metagym.evaluation import EvaluationConfig, EvaluationReport, evaluate
    from metagym.models import ChatModel, OpenAIChatModel
    from metagym.optimization import OptimizationResult, optimize
    from metagym.reflectors import ChatReflector, Reflector
    from metagym.rollout import RolloutEngine
    from metagym.tasks import TaskSet
    from metagym.types import (
        Action,
        Episode,
        MetaStep,
        Observation,
        Reflection,
        Step,
        StopReason,
        Task,
        Trajectory,
        Usage,
    )
    from metagym.vector import MetaVectorEnv

_EXPORTS = {
    "metagym.actor": ("Actor", "ChatActor", "RandomActor"),
    "metagym.adapter": ("TextAdapter",),
    "metagym.env": ("MetaEnv",),
    "metagym.envs.alfworld.meta": ("ALFWorldMetaEnv",),
    "metagym.envs.gates.meta": ("GatesMetaEnv",),
    "metagym.envs.minihack.meta": ("MiniHackMetaEnv",),
    "metagym.evaluation": ("EvaluationConfig", "EvaluationReport", "evaluate"),
    "metagym.models": ("ChatModel", "OpenAIChatModel"),
    "metagym.optimization": ("OptimizationResult", "optimize"),
    "metagym.reflectors": ("ChatReflector", "Reflector"),
    "metagym.rollout": ("RolloutEngine",),
    "metagym.tasks": ("TaskSet",),
    "metagym.vector": ("MetaVectorEnv",),
    "metagym.types": (
        "Action",
        "Episode",
        "MetaStep",
        "Observation",
        "Reflection",
        "Step",
        "StopReason",
        "Task",
        "Trajectory",
        "Usage",
    ),
}
_MODULE_OF = {name: module for module, names in _EXPORTS.items() for name in names}

__all__ = [
    "ALFWorldMetaEnv",
    "Action",
    "Actor",
    "ChatActor",
    "ChatModel",
    "ChatReflector",
    "Episode",
    "EvaluationConfig",
    "EvaluationReport",
    "GatesMetaEnv",
    "MetaEnv",
    "MetaGymError",
    "MetaStep",
    "MetaVectorEnv",
    "MiniHackMetaEnv",
    "Observation",
    "OpenAIChatModel",
    "OptimizationResult",
    "RandomActor",
    "Reflection",
    "Reflector",
    "RolloutEngine",
    "Step",
    "StopReason",
    "Task",
    "TaskSet",
    "TextAdapter",
    "Trajectory",
    "Usage",
    "__version__",
    "evaluate",
    "optimize",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'metagym' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


META_EPISODE_LENGTH = 10
"""Meta-steps in a meta-episode, as registered; `gym.make(..., max_episode_steps=N)` changes it."""

register(
    id="MetaGym/Gates-v0",
    entry_point="metagym.envs.gates.meta:GatesMetaEnv",
    vector_entry_point="metagym.envs.gates.meta:make_gates_vector",
    max_episode_steps=META_EPISODE_LENGTH,
)
register(
    id="MetaGym/MiniHack-v0",
    entry_point="metagym.envs.minihack.meta:MiniHackMetaEnv",
    vector_entry_point="metagym.envs.minihack.meta:make_minihack_vector",
    max_episode_steps=META_EPISODE_LENGTH,
)
register(
    id="MetaGym/ALFWorld-v0",
    entry_point="metagym.envs.alfworld.meta:ALFWorldMetaEnv",
    vector_entry_point="metagym.envs.alfworld.meta:make_alfworld_vector",
    max_episode_steps=META_EPISODE_LENGTH,
)
register(id="MetaGym/ALFWorldText-v0", entry_point="metagym.envs.alfworld.env:ALFWorldTextEnv")
register(id="MetaGym/MiniHackText-v0", entry_point="metagym.envs.minihack.env:MiniHackTextEnv")
register(id="MetaGym/GatesText-v0", entry_point="metagym.envs.gates.env:GatesEnv")
