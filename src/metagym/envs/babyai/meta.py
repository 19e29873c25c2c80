"""BabyAI's meta-environment: write the prompt under which an actor does missions in a grid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from metagym.env import MetaEnv
from metagym.envs.babyai.env import BabyAITextEnv
from metagym.envs.babyai.expert import BabyAIExpert
from metagym.envs.babyai.families import DEFAULT_FAMILIES, BabyAITaskSet
from metagym.imports import package_versions


class BabyAIMetaEnv(MetaEnv):
    """The meta-environment over BabyAI: `gym.make("MetaGym/BabyAI-v0")`.

    A family is a BabyAI id; `families` takes ids and kinds of missions (`GoToLocal`, `KeyCorridor`, ...). The demo
    actor is BabyAI's own bot: it sees the whole level and reads no prompt, so there is no demo reflector.
    """

    default_prompt = (
        "You are in a room of square tiles and have a mission. You see up to six steps ahead and three to each side. "
        "Turn and walk to what the mission names: you have gone to a thing when it is one step ahead of you. There you "
        "pick up, drop, and toggle (open, close, unlock). You carry one thing at a time. A box that you open is gone. "
        "A locked door needs the key of its colour."
    )
    default_options: ClassVar[Mapping[str, Any]] = {"families": DEFAULT_FAMILIES, "max_steps": 60}
    names_kinds = True
    make_inner_env = staticmethod(BabyAITextEnv)
    make_task_set = staticmethod(BabyAITaskSet)
    make_demo_actor = staticmethod(BabyAIExpert)

    def inner_fingerprint(self) -> dict[str, Any]:
        """Return the version of minigrid, which makes the levels."""
        return {"packages": package_versions("minigrid")}
