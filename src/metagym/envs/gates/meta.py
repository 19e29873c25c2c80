"""Gates' meta-environment: write the prompt that gives the actor the family's law."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from metagym.actors import Actor
from metagym.env import MetaEnv
from metagym.envs.gates.demo import GatesDemoActor, GatesDemoReflector
from metagym.envs.gates.env import GatesEnv, GatesTaskSet
from metagym.reflectors import Reflector
from metagym.tasks import TaskSet


class GatesMetaEnv(MetaEnv):
    """The meta-environment over Gates: `gym.make("MetaGym/Gates-v0")`.

    By default (`schedule="blocked"`) all tasks of a meta-episode are of one family, drawn at reset.
    """

    default_prompt = "You walk a road with four gates. Find out how each gate opens, and pass them before dusk."
    default_options: ClassVar[Mapping[str, Any]] = {"schedule": "blocked"}

    @staticmethod
    def make_inner_env() -> GatesEnv:
        """Make an inner environment."""
        return GatesEnv()

    def make_task_set(self) -> TaskSet:
        """Make the task set of all 1,296 laws."""
        return GatesTaskSet()

    def make_demo_actor(self) -> Actor:
        """Make the scripted actor."""
        return GatesDemoActor()

    def make_demo_reflector(self) -> Reflector:
        """Make the scripted reflector."""
        return GatesDemoReflector()
