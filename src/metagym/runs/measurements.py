"""Measurements: one prompt of one meta-episode, scored on one list of tasks. Data only.

An evaluation is a table of these; every figure of its report follows from them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from metagym.budget import BudgetUse
from metagym.types import SCHEMA_VERSION, Record, Text, Trajectory, Usage


class Role(StrEnum):
    """What a measurement is for."""

    ONLINE = "online"
    """The fresh batch of meta-step `index`, scored before it was reflected upon."""
    REPLAY = "replay"
    """The batch of meta-step `index` again, under the prompt that was written after seeing it."""
    VALIDATION = "validation"
    """Prompt `index` on the fixed tasks that choose the prompt."""
    TEST_CHOSEN = "test chosen"
    """The chosen prompt on the fixed tasks that chose nothing."""
    TEST_FIRST = "test first"
    """`sp_0`, afresh, on the same test tasks."""
    TEST_LAST = "test last"
    """The last prompt on the same test tasks."""
    STREAM_TEST = "stream test"
    """The prompt after block `index` of a stream, on the fixed test tasks of a family."""


class Measurement(Record):
    """One prompt's scores on one list of tasks."""

    schema_version: Literal[1] = SCHEMA_VERSION
    family: str
    """The family that is evaluated."""
    seed: int
    """The meta-episode: the replicate."""
    role: Role
    index: int
    """The meta-step of an online or a replay measurement; else the prompt's number, 0 for `sp_0`."""
    prompt: Text
    task_ids: tuple[str, ...]
    scores: tuple[float | None, ...]
    """One score per task; None where the apparatus failed."""
    num_steps: int
    """Steps of all episodes."""
    num_invalid: int
    """Those whose action could not be read or was not available."""
    usage: Usage
    scripted: bool

    @property
    def key(self) -> tuple[str, int, str, int]:
        """Names the measurement within an evaluation."""
        return (self.family, self.seed, self.role.value, self.index)

    @property
    def mean(self) -> float | None:
        """Mean score over the tasks that did not fail; None where all failed."""
        known = [score for score in self.scores if score is not None]
        return sum(known) / len(known) if known else None


class Learned(Record):
    """What one meta-episode learned within a budget, and what it took. Its prompts are what is measured."""

    schema_version: Literal[1] = SCHEMA_VERSION
    family: str
    seed: int
    prompts: tuple[Text, ...]
    """The prompts in the order in which they were written, `sp_0` first; the last one is handed over."""
    outlays: tuple[BudgetUse, ...]
    """What had been taken when each was known."""
    total: BudgetUse
    """What was taken in all, by actor and reflector; what a cut batch took is in it."""
    usage: dict[str, Usage]
    """Tokens and calls by role."""
    num_meta_steps: int
    """Batches, or evaluations, that were finished."""
    stopped: str = ""
    """Why it ended early; empty where all meta-steps were played."""

    @property
    def key(self) -> tuple[str, int]:
        """Names the meta-episode within an evaluation."""
        return (self.family, self.seed)


def measure(
    family: str, seed: int, role: Role, *, index: int, prompt: str, trajectories: tuple[Trajectory, ...]
) -> Measurement:
    """Return the measurement that the trajectories are."""
    return Measurement(
        family=family,
        seed=seed,
        role=role,
        index=index,
        prompt=prompt,
        task_ids=tuple(item.task.id for item in trajectories),
        scores=tuple(item.score for item in trajectories),
        num_steps=sum(len(item.steps) for item in trajectories),
        num_invalid=sum(item.num_invalid for item in trajectories),
        usage=sum((item.usage for item in trajectories), Usage()),
        scripted=any(item.scripted for item in trajectories),
    )
