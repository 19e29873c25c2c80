"""Episodes in corridors, and short ways to play them, for the tests of rollouts and workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from metagym.rollout import RolloutConfig, RolloutEngine
from metagym.testing import ScriptedActor
from metagym.types import Episode, Trajectory
from metagym.workers import LocalWorkers
from tests.conftest import CorridorEnv, make_episode, make_task

EAST = ScriptedActor(["east"])


def episodes(number: int, **fields: Any) -> list[Episode]:
    """Return episodes in corridors of two to eight fields."""
    return [make_episode(task=make_task(f"corridor/{n}", seed=n), seed=n, **fields) for n in range(number)]


def engine(actor: Any, make_env: Callable[[], Any] = CorridorEnv, **options: Any) -> RolloutEngine:
    """Return an engine in this process; `options` are the engine's and those of RolloutConfig."""
    more = {name: options.pop(name) for name in ("score", "on_episode", "recall") if name in options}
    return RolloutEngine(actor, LocalWorkers(make_env), config=RolloutConfig(**options), **more)


def play(actor: Any, make_env: Callable[[], Any] = CorridorEnv, *, seed: int = 2, **options: Any) -> Trajectory:
    """Play one episode; the corridor of seed 2 has four fields."""
    episode = make_episode(task=make_task(seed=seed))
    (trajectory,) = asyncio.run(engine(actor, make_env, **options).run([episode]))
    return trajectory
