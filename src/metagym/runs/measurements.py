"""Measurements: one prompt of one meta-episode, scored on one list of tasks. Data only.

An evaluation is a table of these; every figure of its report follows from them.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import Literal

from pydantic import model_validator

from metagym.budget import BudgetUse
from metagym.errors import ConfigError
from metagym.types import SCHEMA_VERSION, Record, Text, Texts, Trajectory, Usage


class Role(StrEnum):
    """The purpose of a measurement."""

    ONLINE = "online"
    """The fresh batch of meta-step `index`, before the reflection on it."""
    REPLAY = "replay"
    """The batch of meta-step `index`, played again under the prompt that was written after it."""
    KINDS_BEFORE = "seen kinds before"
    """Fresh tasks of the kinds that batch `index` had, under the prompt that the batch was played under."""
    KINDS_AFTER = "seen kinds after"
    """The same tasks under the prompt that was written after the batch."""
    VALIDATION = "validation"
    """Prompt `index` on the fixed tasks that choose the prompt."""
    TEST_CHOSEN = "test chosen"
    """The chosen prompt on the fixed test tasks, which chose nothing."""
    TEST_FIRST = "test first"
    """`sp_0`, played for itself on the same test tasks."""
    TEST_LAST = "test last"
    """The last prompt on the same test tasks."""
    STREAM_TEST = "stream test"
    """The prompt after block `index` of a stream, on the fixed test tasks of a family."""


class Measurement(Record):
    """The scores of one prompt on one list of tasks."""

    schema_version: Literal[1] = SCHEMA_VERSION
    family: Text
    """The family that is evaluated."""
    seed: int
    """The meta-episode, which is one replicate."""
    role: Role
    index: int
    """The meta-step of an online or a replay measurement; otherwise the number of the prompt, 0 for `sp_0`."""
    prompt: Text
    task_ids: Texts
    """A task that is played several times is listed as often: first all tasks once, then all of them again."""
    scores: tuple[float | None, ...]
    """One score per episode; None if the episode failed for infrastructure reasons."""
    num_steps: int
    """Steps of all episodes."""
    num_invalid: int
    """Steps whose action could not be read or was not available."""
    usage: Usage
    scripted: bool

    @model_validator(mode="after")
    def _check(self) -> Measurement:
        if len(self.task_ids) != len(self.scores):
            raise ConfigError(f"Expected a score for each task, got {len(self.task_ids)} and {len(self.scores)}.")
        if self.index < 0 or not 0 <= self.num_invalid <= self.num_steps:
            got = f"index {self.index}, {self.num_steps} steps and {self.num_invalid} invalid ones"
            raise ConfigError(f"Expected an index from 0 and no more invalid steps than steps, got {got}.")
        return self

    @property
    def key(self) -> tuple[str, int, str, int]:
        """The name of the measurement within an evaluation."""
        return (self.family, self.seed, self.role.value, self.index)

    @property
    def by_task(self) -> dict[str, list[float]]:
        """The known scores of each task, one for each repetition."""
        found: dict[str, list[float]] = {task_id: [] for task_id in self.task_ids}
        for task_id, score in zip(self.task_ids, self.scores, strict=True):
            if score is not None:
                found[task_id].append(score)
        return found

    @property
    def task_means(self) -> dict[str, float]:
        """The mean score of each task with a known score."""
        return {task_id: sum(scores) / len(scores) for task_id, scores in self.by_task.items() if scores}

    @property
    def missing_shares(self) -> dict[str, float]:
        """The share of each task's repetitions that have no score."""
        asked = Counter(self.task_ids)
        return {task_id: 1 - len(scores) / asked[task_id] for task_id, scores in self.by_task.items()}

    @property
    def mean(self) -> float | None:
        """Mean score over the episodes with a score; None without any."""
        known = [score for score in self.scores if score is not None]
        return sum(known) / len(known) if known else None


class Learned(Record):
    """The prompts that one meta-episode learned within a budget, and their costs. These prompts are measured."""

    schema_version: Literal[1] = SCHEMA_VERSION
    family: Text
    seed: int
    prompts: Texts
    """The prompts in the order in which they were written, `sp_0` first; the last one is the result."""
    outlays: tuple[BudgetUse, ...]
    """The episodes, calls, tokens and money used when each prompt was known."""
    total: BudgetUse
    """All that actor and reflector used, including an unfinished batch."""
    usage: dict[Text, Usage]
    """Tokens and calls by role."""
    num_meta_steps: int
    """The number of finished batches or evaluations."""
    stopped: Text = ""
    """Why it ended early; empty if all meta-steps were played."""

    @property
    def key(self) -> tuple[str, int]:
        """The name of the meta-episode within an evaluation."""
        return (self.family, self.seed)


class Copies(Record):
    """What the last prompt of one meta-episode has from its learning episodes, word for word."""

    schema_version: Literal[1] = SCHEMA_VERSION
    family: Text
    seed: int
    ngram_share: float
    """Share of all runs of five words in the prompt."""
    names: Texts
    """Numbered names and coordinates (`shelf 3`, `(4, 2)`, `17`)."""
    sentences: Texts
    """Whole sentences of at least four words."""

    @property
    def key(self) -> tuple[str, int]:
        """The name of the meta-episode within an evaluation."""
        return (self.family, self.seed)


class AddedSeeds(Record):
    """A decision to add seeds to a finished evaluation: the earlier seeds had been looked at."""

    schema_version: Literal[1] = SCHEMA_VERSION
    num_seeds: int
    """Meta-episodes of each family from then on, the earlier ones included."""

    @property
    def key(self) -> int:
        """The name of the extension within an evaluation."""
        return self.num_seeds


def arm_of(loop: str, role: Role, index: int) -> str:
    """Return the arm of the episodes of a measurement in the meta-episode named `loop`.

    Each prompt has its own chance: two that are equal are two samples, as in an A/A run.
    """
    if role is Role.ONLINE:
        return loop
    is_numbered = role in (Role.VALIDATION, Role.REPLAY, Role.STREAM_TEST, Role.KINDS_BEFORE, Role.KINDS_AFTER)
    return f"{loop}/{role.value}-{index}" if is_numbered else f"{loop}/{role.value}"


def measure(
    family: str, seed: int, role: Role, *, index: int, prompt: str, trajectories: tuple[Trajectory, ...]
) -> Measurement:
    """Return the trajectories as a measurement."""
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
