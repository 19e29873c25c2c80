"""A gate for a prompt that is kept in git: old and new are played on the same tasks, and one of three words comes out.

The replicate is the task: both prompts are fixed texts, so the claim is about fresh tasks of these families.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import gymnasium
import numpy as np

from metagym.env import meta_env_of
from metagym.errors import ConfigError, InfrastructureError
from metagym.evaluation.memorisation import Copied, copied
from metagym.evaluation.report import SCRIPTED_NOTE
from metagym.evaluation.scale import ScoreScale
from metagym.evaluation.scoring import notes_of_failures, raising_stops
from metagym.rendering import plural
from metagym.statistics import Estimate, detectable_effect, finite_mean, mean_interval
from metagym.types import Record, Text, Texts, Trajectory, derive_seed

MIN_TASKS = 10
"""Fewer tasks decide nothing: scores of single episodes are far from normal."""


class Decision(StrEnum):
    """The decision on the new prompt."""

    KEEP = "keep"
    """It is shown to be better."""
    REVERT = "revert"
    """It is shown to be worse, or it copies from the episodes that it was learned on."""
    UNDECIDED = "cannot tell"
    """Neither is shown."""


class GateResult(Record):
    """The comparison of two prompts on the same tasks."""

    decision: Decision
    difference: Estimate
    """New minus old, over the tasks (the mean of each family weighs by its tasks, of equal number)."""
    old: float
    new: float
    """Mean scores."""
    detectable: float
    """The smallest true difference that this number of tasks finds with 80 % power."""
    families: Texts
    num_tasks: int
    num_repetitions: int
    num_missing: int
    """Tasks that are left out because of infrastructure errors."""
    scripted: bool
    copied: Copied | None = None
    """The copies in the new prompt that are not in the old one or in its episodes, if the episodes that the new one was
    learned on were given."""
    notes: Texts = ()

    @property
    def markdown(self) -> Text:
        """The result as text for a pull request."""
        low, high = self.difference.low or 0.0, self.difference.high or 0.0
        rows = (
            ("old", f"{self.old:.3f}"),
            ("new", f"{self.new:.3f}"),
            ("difference [95 %]", f"{self.difference.mean:+.3f} [{low:+.3f}, {high:+.3f}]"),
            ("smallest difference that would be found (80 % power)", f"{self.detectable:.3f}"),
            ("tasks", f"{self.num_tasks} of {', '.join(self.families)}, {self.num_repetitions} times each"),
        )
        lines = [f"**Prompt gate: {self.decision}**", "", "| | |", "| --- | --- |"]
        return "\n".join([*lines, *(f"| {name} | {value} |" for name, value in rows), "", *self.notes]).strip()


def tasks_of_a_family(num_families: int, num_episodes: int, repetitions: int) -> int:
    """Return on how many tasks of each family two prompts are played, within `num_episodes`.

    Raises:
        ConfigError: the budget is too small to decide anything.
    """
    if repetitions < 1 or num_families < 1:
        raise ConfigError(f"Expected a family and a repetition at least, got {num_families} and {repetitions}.")
    each = num_episodes // (2 * repetitions * num_families)
    if each * num_families < MIN_TASKS:
        least = 2 * repetitions * num_families * -(-MIN_TASKS // num_families)
        families = "1 family" if num_families == 1 else f"{num_families:,} families"
        raise ConfigError(
            f"Expected at least {least:,} episodes for two prompts on {families} (at least {MIN_TASKS} tasks, "
            f"{plural(repetitions, 'repetition')}), got {num_episodes:,}. Raise num_episodes (--episodes), or name "
            """fewer families (--option families='["NAME"]')."""
        )
    return each


def gate(
    env: gymnasium.Env[Any, Any],
    old: str,
    new: str,
    *,
    num_episodes: int = 200,
    repetitions: int = 1,
    seed: int = 0,
    learned_on: Sequence[Trajectory] | None = None,
) -> GateResult:
    """Play both prompts on the same fresh test tasks, within `num_episodes`, and decide.

    The tasks are divided over the environment's families. Each prompt has its own chance, so a prompt against itself
    is an A/A run: it is decided wrongly in at most 5 % of the cases. The sign of a paired t test decides. With
    `learned_on`, a new prompt that copies names or sentences from these episodes is reverted whatever its score, unless
    they are in the old prompt or in its episodes on the test tasks, too.

    >>> import metagym
    >>> from metagym.envs.gates.env import law_of, GATES
    >>> right = "\\n".join(f"- when the gate is {g}, {w}" for g, w in zip(GATES, law_of("law-0007").opens))
    >>> with metagym.make("MetaGym/Gates-v0", actor="demo", families=["law-0007"]) as env:
    ...     gate(env, "Walk.", right, num_episodes=60).decision.value
    'keep'

    Raises:
        ConfigError: the budget is too small to decide anything.
        InfrastructureError: too few tasks were scored under both prompts, or the server is down.
    """
    meta_env = meta_env_of(env)
    families = meta_env.families
    each = tasks_of_a_family(len(families), num_episodes, repetitions)
    tasks = [
        task.id
        for family in families
        for task in meta_env.task_set.draw(
            each, rng=np.random.default_rng(derive_seed("gate", seed, family)), families=[family], split="test"
        )
    ]
    prompts = [meta_env.check_prompt(old), meta_env.check_prompt(new)]
    with raising_stops(meta_env):
        played = meta_env.replay(prompts, tasks, repetitions=repetitions)
    failures = notes_of_failures([trajectory for step in played for trajectory in step.trajectories])
    scores = np.array([step.scores for step in played], dtype=np.float64).reshape(2, len(tasks), repetitions)
    means = finite_mean(scores)
    known = np.isfinite(means).all(axis=0)
    if known.sum() < MIN_TASKS:
        raise InfrastructureError(
            f"Expected a score of both prompts on at least {MIN_TASKS} tasks, got {known.sum()} of {len(tasks)}. "
            f"{failures[0]} Remove its cause, then run the gate again."
        )
    scale = ScoreScale(min(0.0, np.nanmin(scores)), max(1.0, np.nanmax(scores)))
    difference = mean_interval(
        means[1, known] - means[0, known], resolution=scale.of_one_in(repetitions), bounds=scale.of_differences
    )
    assert difference is not None
    assert difference.std is not None
    scripted = any(step.scripted for step in played)
    decision = {1: Decision.KEEP, -1: Decision.REVERT, 0: Decision.UNDECIDED}[difference.sign]
    notes = [*failures, *([SCRIPTED_NOTE] if scripted else [])]
    copies = None
    if learned_on is not None:
        # An actor repeats its prompt: in the new prompt's episodes its copies would look like common language.
        copies = copied(new, learned_on, others=played[0].trajectories, first_prompt=old)
        if parts := (*copies.names, *copies.sentences):
            decision = Decision.REVERT
            notes.insert(0, f"The new prompt copies from its learning episodes: {', '.join(map(repr, parts[:5]))}.")
    return GateResult(
        decision=decision,
        difference=difference,
        old=float(means[0, known].mean()),
        new=float(means[1, known].mean()),
        detectable=detectable_effect(difference.std, difference.num),
        families=families,
        num_tasks=int(known.sum()),
        num_repetitions=repetitions,
        num_missing=int((~known).sum()),
        scripted=scripted,
        copied=copies,
        notes=tuple(notes),
    )
