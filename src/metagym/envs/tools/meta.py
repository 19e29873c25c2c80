"""The meta-environment over worlds of tools: write the prompt, and the descriptions of tools, of an assistant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

from metagym.actor import ActorSpec
from metagym.env import MetaEnv
from metagym.envs.tools.demo import ToolsDemoActor, ToolsDemoReflector
from metagym.envs.tools.env import Check, ToolsEnv, check_name
from metagym.envs.tools.tasks import tools_task_set
from metagym.imports import package_versions


class ToolsMetaEnv(MetaEnv):
    """The meta-environment over BFCL's multi-turn tasks: `gym.make("MetaGym/Tools-v0")`.

    Families are the benchmark's APIs and their combinations (`files`, `files+posts`, ...), and the variants of each
    (`files/missing-function`, ...); the groups are `base`, `missing-function`, `missing-parameter` and `long-context`.
    By default all families of `base` are played. `check` is the option of `ToolsEnv`.
    """

    default_prompt = "You are an assistant with access to functions. Call them to do what the user asks for."
    default_options: ClassVar[Mapping[str, Any]] = {"max_steps": 40, "families": ("base",)}
    names_kinds = False
    offers_tools = True
    make_task_set = staticmethod(tools_task_set)
    make_demo_actor = staticmethod(ToolsDemoActor)
    make_demo_reflector = staticmethod(ToolsDemoReflector)

    def __init__(self, actor: ActorSpec = None, *, check: Check = "state", **options: Any) -> None:
        check_name(check)
        self._check: Check = check
        super().__init__(actor, **options)

    def make_inner_env(self) -> ToolsEnv:
        """Make an inner environment."""
        return ToolsEnv(check=self._check)

    def inner_env_factory(self) -> Callable[[], ToolsEnv]:
        """Return a function that makes an inner environment in a worker process."""
        return partial(ToolsEnv, check=self._check)

    def inner_fingerprint(self) -> dict[str, Any]:
        """Return the settings of the play: the check, and the version of the benchmark."""
        return {"check": self._check, "packages": package_versions("bfcl-eval", "mpmath")}
