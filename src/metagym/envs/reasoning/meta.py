"""The meta-environment over reasoning-gym: write the prompt under which an actor answers questions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from metagym.actor import ActorSpec
from metagym.env import MetaEnv
from metagym.envs.reasoning.env import (
    DEFAULT_FAMILIES,
    ReasoningEnv,
    ReasoningTaskSet,
    check_level,
    make_question,
)
from metagym.imports import package_versions
from metagym.tasks.seeds import read_seeded_id
from metagym.types import Action, Episode, Observation, Step


class ReasoningExpert:
    """Replies with the answer that comes with the question: the upper bound. It reads no text."""

    scripted = True

    def __init__(self, level: int = 0) -> None:
        self._level = level
        self.fingerprint = {"kind": "ReasoningExpert"}

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        """Return the answer."""
        return Action(text=make_question(*read_seeded_id(episode.task.id), self._level).answer)


class ReasoningMetaEnv(MetaEnv):
    """The meta-environment over reasoning-gym: `gym.make("MetaGym/Reasoning-v0")`.

    A family is a generator; `level` is explained in `ReasoningEnv`. The demo actor knows the answers, and reads no
    prompt.
    """

    default_prompt = (
        "Answer the question. Your action is the answer alone: no sentence, no full stop, and numbers in digits."
    )
    default_options: ClassVar[Mapping[str, Any]] = {"families": DEFAULT_FAMILIES, "max_steps": 1}
    names_kinds = False

    def __init__(self, actor: ActorSpec = None, *, level: int = 0, **options: Any) -> None:
        self._level = level
        super().__init__(actor, **options)
        check_level(self.families, level)

    def make_inner_env(self) -> ReasoningEnv:
        """Make the inner environment."""
        return ReasoningEnv(families=self.families, level=self._level)

    def inner_env_factory(self) -> Callable[[], ReasoningEnv]:
        """Return a function that makes an inner environment in a worker process."""
        return partial(ReasoningEnv, families=self.families, level=self._level)

    def make_task_set(self) -> ReasoningTaskSet:
        """Make the task set of all families."""
        return ReasoningTaskSet(self._level)

    def make_demo_actor(self) -> ReasoningExpert:
        """Make the actor that knows the answers."""
        return ReasoningExpert(self._level)

    def inner_fingerprint(self) -> dict[str, Any]:
        """Return the level, and the version that makes the questions."""
        return {"level": self._level, "packages": package_versions("reasoning-gym")}
