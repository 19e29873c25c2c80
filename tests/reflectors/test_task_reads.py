"""Which fields of a task a reflector reads is recorded, and changes nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from metagym.optimizers import optimize
from metagym.reflectors.task_reads import noting_task_reads, watched
from metagym.types import MetaStep, Task
from tests.conftest import MakeGates


def honest(history: Sequence[MetaStep]) -> str:
    return f"{len(history[-1].trajectories)} episodes, score {history[-1].reward}"


def cheat(history: Sequence[MetaStep]) -> str:
    return history[-1].trajectories[0].task.family


def copycat(history: Sequence[MetaStep]) -> str:
    return str(history[-1].trajectories[0].task.model_dump()["seed"])


@pytest.mark.parametrize(
    ("reflector", "expected"),
    [(honest, ()), (cheat, ("family",)), (copycat, tuple(sorted(Task.model_fields)))],
)
def test_the_fields_that_a_reflector_reads_are_in_its_reflection(
    make_gates: MakeGates, reflector: object, expected: tuple[str, ...]
) -> None:
    result = optimize(make_gates(), reflector, 2, seed=0)  # type: ignore[arg-type]
    assert result.last_reflection is not None
    assert result.last_reflection.task_reads == expected
    assert result.history[0].trajectories[0].task == Task.model_validate(result.history[0].trajectories[0].task)
    assert type(result.history[0].trajectories[0].task) is Task


class ReadsItsRollouts:
    """Reads the seeds of the rollouts that it asks for, and nothing of its history but ids."""

    def __init__(self, replay: Any = None) -> None:
        self.replay = replay

    def bound_to(self, replay: Any) -> ReadsItsRollouts:
        return ReadsItsRollouts(replay)

    async def reflect(self, history: Sequence[MetaStep]) -> str:
        (played,) = await self.replay(["p"], [history[-1].trajectories[0].task.id])
        return str(played.trajectories[0].task.seed)


def test_the_fields_that_a_reflector_reads_of_its_rollouts_are_noted_too(make_gates: MakeGates) -> None:
    result = optimize(make_gates(), ReadsItsRollouts(), 1, seed=0)
    assert result.last_reflection is not None
    assert result.last_reflection.task_reads == ("id", "seed")


def test_a_watched_task_holds_the_same_values_and_notes_nothing_outside(make_gates: MakeGates) -> None:
    env = make_gates()
    _, info = env.reset(seed=0)
    trajectories, reward, *_ = env.step(info["default_prompt"])
    plain = MetaStep(index=0, prompt="p", trajectories=trajectories, reward=reward)
    task = watched(plain).trajectories[0].task
    with noting_task_reads() as read:
        pass
    assert task.id == trajectories[0].task.id
    assert dict(task) == dict(trajectories[0].task)
    assert read == set()
