"""A meta-environment of your own over seven corridors, and what the tests of environments share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium

from metagym import MetaEnv, TaskSet
from metagym.testing import ScriptedActor
from metagym.types import Task
from tests.conftest import CorridorEnv

EAST = ScriptedActor(["east"])


def seed_of(env: gymnasium.Env[str, str], task: Task) -> str:
    return str(task.seed)


class CorridorMetaEnv(MetaEnv):
    """A meta-environment of one's own, over seven corridors; it touches no private name."""

    default_prompt = "Walk."
    num_seeds = 7

    def make_inner_env(self) -> CorridorEnv:
        return CorridorEnv()

    def make_task_set(self) -> TaskSet:
        return TaskSet.from_seeds(
            CorridorEnv, self.num_seeds, digest=lambda env, task: str(task.seed), families=["corridor"]
        )


def num_train() -> int:
    tasks = CorridorMetaEnv("random").task_set
    return sum(tasks.find(f"corridor/{seed}").split == "train" for seed in range(7))


def played(env: MetaEnv, num_steps: int, *, seed: int = 0, prompt: str = "p") -> list[tuple[Any, ...]]:
    env.reset(seed=seed)
    return [env.step(prompt) for _ in range(num_steps)]


def ids_of(steps: Sequence[tuple[Any, ...]]) -> list[str]:
    return [task_id for step in steps for task_id in step[4]["task_ids"]]
