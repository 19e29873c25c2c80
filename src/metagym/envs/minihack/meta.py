"""MiniHack's meta-environment: write the prompt under which an actor plays NetHack's levels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal

from metagym.actor import ActorSpec
from metagym.env import MetaEnv
from metagym.envs.minihack.demo import DEFAULT_PROMPT, MiniHackDemoActor, MiniHackDemoReflector
from metagym.envs.minihack.engine import GamePool
from metagym.envs.minihack.env import MiniHackTextEnv, check_text_options
from metagym.envs.minihack.families import DEFAULT_FAMILIES
from metagym.envs.minihack.screen import DEFAULT_PARTS
from metagym.envs.minihack.tasks import MiniHackTaskSet
from metagym.imports import package_versions
from metagym.optional_attributes import extension_of
from metagym.tasks import TaskSet
from metagym.types import Episode, Trajectory

MAX_IDLE = 128
"""The limit of idle games that are kept for later episodes; 3.4 MB each."""


class MiniHackMetaEnv(MetaEnv):
    """The meta-environment over MiniHack: `gym.make("MetaGym/MiniHack-v0")`.

    A family is a MiniHack id; `families` takes ids and groups (`Room`, `Skill`, ...). `parts`, `goal`, `rewards`,
    `auto_answer` and `display` are options of `MiniHackTextEnv`; all others are fields of `MetaEnvConfig`.
    """

    default_prompt = DEFAULT_PROMPT
    default_options: ClassVar[Mapping[str, Any]] = {"families": DEFAULT_FAMILIES}
    names_kinds = False
    make_demo_actor = staticmethod(MiniHackDemoActor)
    make_demo_reflector = staticmethod(MiniHackDemoReflector)

    def __init__(
        self,
        actor: ActorSpec = None,
        *,
        parts: Sequence[str] = DEFAULT_PARTS,
        goal: Literal["family", "none", "paper_task_line"] = "family",
        rewards: Literal["success", "minihack"] = "success",
        auto_answer: bool = False,
        display: bool = True,
        **options: Any,
    ) -> None:
        check_text_options(parts, goal, rewards)
        self._inner: dict[str, Any] = {
            "parts": tuple(parts),
            "goal": goal,
            "rewards": rewards,
            "auto_answer": auto_answer,
            "display": display,
        }
        # One pool for all: the game that showed a level's role plays the next episode.
        self._pool = GamePool(max_idle=MAX_IDLE)
        self._is_warm = False
        super().__init__(actor, **options)

    def make_inner_env(self) -> MiniHackTextEnv:
        """Make an inner environment that uses the shared pool of games."""
        return MiniHackTextEnv(pool=self._pool, **self._inner)

    def inner_env_factory(self) -> Callable[[], MiniHackTextEnv]:
        """Return a function that makes an inner environment with its own pool."""
        return partial(MiniHackTextEnv, **self._inner)

    def make_task_set(self) -> TaskSet:
        """Make the task set of all 122 families."""
        return MiniHackTaskSet(pool=self._pool)

    def play(self, episodes: Sequence[Episode]) -> tuple[Trajectory, ...]:
        """Play episodes. Before the first ones, make the games in a few threads.

        All episodes of a language model run at once, and making a game takes some 30 ms: on the event loop, each game
        would delay all episodes. A scripted actor plays one episode after another, in one game.
        """
        if not self._is_warm and not extension_of(self.actor).scripted:
            self._pool.prepare(episode.task.family for episode in episodes[: self.config.max_concurrency])
        self._is_warm = True
        return super().play(episodes)

    def inner_fingerprint(self) -> dict[str, Any]:
        """Return the options of the text and the versions of minihack and nle."""
        return {**self._inner, "parts": list(self._inner["parts"]), "packages": package_versions("minihack", "nle")}

    def close(self) -> None:
        """Close the meta-environment and its games."""
        super().close()
        self._pool.close()
