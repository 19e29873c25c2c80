"""Verify a run: play its recorded actions again, without any model, and compare the results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from metagym.env import MetaEnv
from metagym.errors import ConfigError, ContextOverflowError
from metagym.registration import make
from metagym.runs import RunFolder
from metagym.types import Action, Episode, Observation, Record, Step, StopReason, Trajectory


class Difference(Record):
    """The first difference between a recorded episode and the episode played again."""

    task_id: str
    step: int
    """Number of the step, from 0; the last step if only the end differs."""
    field: str
    recorded: str
    again: str


class Verification(Record):
    """The result of playing the episodes of a run again."""

    num_episodes: int
    num_steps: int
    num_skipped: int
    """Episodes that failed for infrastructure reasons: they cannot be compared."""
    differences: tuple[Difference, ...]
    """The first difference of each episode that has one."""


class RecordedActor:
    """An actor that plays each episode as it is recorded."""

    scripted = True

    def __init__(self, trajectories: Iterable[Trajectory]) -> None:
        self._records = {trajectory.episode: trajectory for trajectory in trajectories}
        self.fingerprint = {"kind": "RecordedActor"}

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        """Return the recorded action; after the last one, report a context overflow, as the record may."""
        record = self._records[episode]
        if len(steps) == len(record.steps):
            raise ContextOverflowError("The record holds no further action.")
        return record.steps[len(steps)].action


def verify_run(path: str | Path) -> Verification:
    """Play all episodes of a run folder again, in new inner environments, and compare them with their records.

    Raises:
        RunFolderError: the folder holds no run.
        ConfigError: the environment of the run is not deterministic, or does not exist any more.
    """
    run = RunFolder.open(path)
    trajectories = [item for item in run.trajectories if item.stop_reason is not StopReason.ERROR]
    again = play_again(run.manifest.env_id, run.manifest.env_options, trajectories)
    differences = (first_difference(before, after) for before, after in zip(trajectories, again, strict=True))
    return Verification(
        num_episodes=len(trajectories),
        num_steps=sum(len(item.steps) for item in trajectories),
        num_skipped=len(run.trajectories) - len(trajectories),
        differences=tuple(difference for difference in differences if difference is not None),
    )


def play_again(
    env_id: str, env_options: Mapping[str, Any], trajectories: Sequence[Trajectory], *, num_steps: int | None = None
) -> tuple[Trajectory, ...]:
    """Play recorded episodes again, all steps or only the first `num_steps`; no model is called."""
    options: dict[str, Any] = {**env_options, "actor": RecordedActor(trajectories)}
    if num_steps is not None:
        options["max_steps"] = num_steps
    env = make(env_id, **options)
    try:
        meta_env = env.unwrapped
        if not isinstance(meta_env, MetaEnv):
            raise ConfigError(f"Expected the id of a meta-environment, got {env_id!r}: see `metagym envs`.")
        return meta_env.play([trajectory.episode for trajectory in trajectories])
    finally:
        env.close()


def first_difference(recorded: Trajectory, again: Trajectory) -> Difference | None:
    """Return the first difference in what was observed, executed or scored, or None."""
    for number, (before, after) in enumerate(zip(recorded.steps, again.steps, strict=False)):
        for field in Step.model_fields:
            if getattr(before, field) != getattr(after, field):
                return _difference(recorded, number, field, getattr(before, field), getattr(after, field))
    for field in ("final_observation", "stop_reason", "stop_detail", "success", "score", "error"):
        if getattr(recorded, field) != getattr(again, field):
            last = max(0, len(recorded.steps) - 1)
            return _difference(recorded, last, field, getattr(recorded, field), getattr(again, field))
    return None


def _difference(recorded: Trajectory, step: int, field: str, before: object, after: object) -> Difference:
    return Difference(task_id=recorded.task.id, step=step, field=field, recorded=str(before), again=str(after))
