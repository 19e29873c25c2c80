"""Gates' meta-environment: write the prompt that gives the actor the family's law."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from metagym.env import MetaEnv
from metagym.envs.gates.demo import GatesDemoActor, GatesDemoReflector
from metagym.envs.gates.env import GatesEnv, GatesTaskSet


class GatesMetaEnv(MetaEnv):
    """The meta-environment over Gates: `gym.make("MetaGym/Gates-v0")`.

    By default (`schedule="blocked"`) all tasks of a meta-episode are of one family, drawn at reset.
    """

    default_prompt = "You walk a road with four gates. Find out how each gate opens, and pass them before dusk."
    default_options: ClassVar[Mapping[str, Any]] = {"schedule": "blocked"}
    names_kinds = False
    make_inner_env = staticmethod(GatesEnv)
    make_task_set = staticmethod(GatesTaskSet)
    make_demo_actor = staticmethod(GatesDemoActor)
    make_demo_reflector = staticmethod(GatesDemoReflector)
