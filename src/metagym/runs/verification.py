"""Verify a run: play its recorded actions again, without any model, and compare the results."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from metagym.env import meta_env_of
from metagym.errors import ContentFilterError, ContextOverflowError
from metagym.registration import make
from metagym.runs import RunFolder
from metagym.runs.log_check import Difference, log_differences
from metagym.types import Action, Episode, Observation, Record, Step, StopReason, Trajectory


class Verification(Record):
    """The result of playing the episodes of a run again."""

    num_episodes: int
    num_steps: int
    num_skipped: int
    """Episodes that failed for infrastructure reasons: they cannot be compared."""
    differences: tuple[Difference, ...]
    """The first difference of each episode that has one, then those of the meta-steps or measurements."""


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
            is_filtered = record.stop_reason is StopReason.CONTENT_FILTER
            raise (ContentFilterError if is_filtered else ContextOverflowError)("The record holds no further action.")
        return record.steps[len(steps)].action


def verify_run(path: str | Path) -> Verification:
    """Play all episodes of a run folder again, in new inner environments, and compare them with their records.

    The rewards of meta-steps and the measurements of an evaluation are compared with these episodes. None of them may
    be missing, except the last ones of a run that is not finished.

    Raises:
        RunFolderError: the folder holds no run.
        ConfigError: the environment of the run is not deterministic, or does not exist any more.
    """
    run = RunFolder.open(path)
    recorded = run.trajectories
    trajectories = [item for item in recorded if item.stop_reason is not StopReason.ERROR]
    options = {**run.manifest.env_options, "actor": RecordedActor(trajectories), "budget": {}}
    with contextlib.closing(make(run.manifest.env_id, **options)) as env:
        again = meta_env_of(env).play([trajectory.episode for trajectory in trajectories])
    pairs = list(zip(trajectories, again, strict=True))
    differences = [first_difference(before, after) for before, after in pairs]
    replayed = [before.model_copy(update={"steps": after.steps, "score": after.score}) for before, after in pairs]
    failed = [item for item in recorded if item.stop_reason is StopReason.ERROR]
    differences += log_differences(run, [*replayed, *failed])
    return Verification(
        num_episodes=len(trajectories),
        num_steps=sum(len(item.steps) for item in trajectories),
        num_skipped=len(recorded) - len(trajectories),
        differences=tuple(difference for difference in differences if difference is not None),
    )


def first_difference(recorded: Trajectory, again: Trajectory) -> Difference | None:
    """Return the first difference in a step, the number of steps or the end, or None."""
    steps = enumerate(zip(recorded.steps, again.steps, strict=False))
    ends = ("final_observation", "stop_reason", "stop_detail", "success", "score", "error")
    compared: list[tuple[int, str, Record, Record]] = [
        *((number, field, before, after) for number, (before, after) in steps for field in Step.model_fields),
        *((max(0, len(recorded.steps) - 1), field, recorded, again) for field in ends),
    ]
    values = [(number, field, getattr(one, field), getattr(other, field)) for number, field, one, other in compared]
    values.append((max(0, len(recorded.steps) - 1), "number of steps", len(recorded.steps), len(again.steps)))
    for number, field, before, after in values:
        if before != after:
            task_id = recorded.task.id
            return Difference(task_id=task_id, step=number, field=field, recorded=str(before), again=str(after))
    return None
