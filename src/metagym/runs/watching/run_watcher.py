"""Watch one run folder: read the lines that were added, and keep sums instead of episodes."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal

import pydantic_core

from metagym.budget import Attempt, Spending, add_attempt
from metagym.errors import RunFolderError
from metagym.files import Tail, written_at
from metagym.runs import LOG, MANIFEST, REPORT, TUNED, Manifest, Measurement, Role, evaluation_size, read_manifest
from metagym.runs.folder import CALLS
from metagym.runs.journal import LOCK, has_writer, living_writer
from metagym.runs.summary import RunSummary, summary_of
from metagym.runs.times import read_times
from metagym.types import Record, Text

QUIET_S = 30.0
"""If no writer is seen and nothing is written for this time, the run has stopped."""
Status = Literal["running", "finished", "stopped", "unreadable"]
"""`stopped`: the run is not finished, and no process is seen that writes. One on another machine is not seen."""
Kind = Literal["run", "evaluation", "stream", "unreadable"]


class CallUnderWay(Record):
    """A model call that has started and has no outcome yet."""

    role: Text
    model: Text
    retry: int
    age_s: float
    """Seconds since it started, at least."""


class FamilyCurve(Record):
    """The scores of one family, or of a single meta-episode, so far. None means a score that is not known."""

    family: Text = ""
    """Empty in a single meta-episode, whose batches may mix families."""
    online: tuple[float | None, ...]
    """Mean score of the fresh batch of each meta-step, over the seeds that have one."""
    validation: tuple[float | None, ...] = ()
    """Mean score of each prompt on the validation tasks."""
    tests: dict[Text, float] = {}
    """Mean test score by role (`test first`, `test chosen`, ...)."""


class RunState(Record):
    """The state of one run folder."""

    name: Text
    path: Text
    kind: Kind
    environment: Text = ""
    status: Status
    scripted: bool = False
    phase: Text = ""
    """The last finished part: `meta-step 3`, `validation`, `test chosen`."""
    num_meta_steps: int = 0
    max_meta_steps: int = 0
    num_episodes: int = 0
    """Episodes with a score."""
    max_episodes: int = 0
    """The largest possible number of episodes (equal prompts are validated once); 0 if it is not known."""
    num_failed: int = 0
    """Episodes that failed for infrastructure reasons, every attempt counted."""
    curves: tuple[FamilyCurve, ...] = ()
    spent: Spending = Spending()
    """What the finished model calls used."""
    under_way: tuple[CallUnderWay, ...] = ()
    idle_s: float | None = None
    """Seconds since the last line was written; None before the first one."""
    summary: RunSummary | None = None
    """The players, the start and the usage; None if the manifest cannot be read."""
    problem: Text = ""
    """What cannot be read; empty if there is no problem."""


class RunWatcher:
    """Watches one run folder."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self._manifest: Manifest | None = None
        self._has_caught_up = False
        self._restart(0)

    def look(self, now: float) -> RunState:
        """Read the added lines and return the state at `now`, in seconds since 1970."""
        try:
            stamp = (self.path / MANIFEST).stat().st_mtime_ns
            if self._manifest is None or stamp != self._stamp:  # another run replaced the earlier one
                self._manifest = read_manifest(self.path)
                self._restart(stamp)
        except (OSError, RunFolderError) as error:
            problem = str(error) if isinstance(error, RunFolderError) else f"The run no longer exists: {error}."
            about = {"name": self.name, "path": str(self.path), "problem": problem}
            return RunState(**about, kind="unreadable", status="unreadable")
        lines, calls = self._log.lines(), self._calls.lines()
        if self._log.has_restarted or self._calls.has_restarted:
            self._restart(stamp)
            lines, calls = self._log.lines(), self._calls.lines()
        for line in lines:
            self._add_line(line)
        for line in calls:
            self._add_call(line, now)
        if (lines or calls) and self._has_caught_up:
            self._grew_at = now
        self._has_caught_up = self._has_caught_up or not self.is_behind
        return self._state(self._manifest, now)

    @property
    def has_process(self) -> bool:
        """Whether the process that last wrote to the folder still lives and is not this one."""
        return living_writer(self.path / LOCK) not in (None, os.getpid())

    @property
    def is_behind(self) -> bool:
        """Whether more can be read at once."""
        return self._log.is_behind or self._calls.is_behind

    def _restart(self, stamp: int) -> None:
        self._stamp = stamp
        self._log, self._calls = Tail(self.path / LOG), Tail(self.path / CALLS)
        self._grew_at = -math.inf
        self._saw_writer = self._has_caught_up = self._scripted = False
        self._num_episodes = self._num_failed = self._num_unreadable = 0
        self._phase = ""
        self._rewards: dict[int, float | None] = {}
        self._num_reflections = 0
        self._num_seeds: int | None = None
        self._means: dict[tuple[str, int, str, int], float | None] = {}
        self._spent = Spending()
        self._under_way: dict[int, tuple[Attempt, float]] = {}

    def _add_line(self, text: bytes) -> None:
        try:
            line = pydantic_core.from_json(text)
            kind, record = line["kind"], line["record"]
            if kind == "episode":
                episode, is_failed = record["episode"], record["score"] is None
                self._phase = _phase(episode["arm"], episode["meta_step"])
                self._scripted = self._scripted or bool(record["scripted"])
                self._num_failed += is_failed
                self._num_episodes += not is_failed
            elif kind == "meta_step":
                reward = record["reward"]
                self._rewards[int(record["index"])] = None if reward is None else float(reward)
            elif kind == "reflection":
                self._num_reflections += 1
            elif kind == "measurement":
                found = Measurement.model_validate(record)
                self._means[found.key] = found.mean
            elif kind == "added_seeds":
                self._num_seeds = int(record["num_seeds"])
        except (ValueError, KeyError, TypeError):  # a watcher continues; `metagym show` reports the broken lines
            self._num_unreadable += 1

    def _add_call(self, text: bytes, now: float) -> None:
        try:
            attempt = Attempt.model_validate_json(text)
        except ValueError:
            self._num_unreadable += 1
            return
        if attempt.outcome == "reserved":
            # A call that started before the watcher is at least as old as the last change of the file.
            since = now if self._has_caught_up else min(now, written_at(self.path / CALLS))
            self._under_way[attempt.number] = attempt, since
        else:
            self._under_way.pop(attempt.number, None)
            self._spent = add_attempt(self._spent, attempt)

    def _state(self, manifest: Manifest, now: float) -> RunState:
        last = max(written_at(self.path / name) for name in (LOG, CALLS, MANIFEST))
        status = self._status(manifest, now)
        max_meta_steps, max_episodes = self._size(manifest)
        calls = [
            CallUnderWay(role=item.role, model=item.model, retry=item.retry, age_s=max(0.0, now - since))
            for item, since in self._under_way.values()
        ]
        return RunState(
            name=self.name,
            path=str(self.path),
            kind=manifest.kind,
            environment=manifest.env_id,
            status=status,
            scripted=manifest.scripted or self._scripted,
            phase=self._phase,
            num_meta_steps=len(self._rewards) or sum(role == Role.ONLINE for _, _, role, _ in self._means),
            max_meta_steps=max_meta_steps,
            num_episodes=self._num_episodes,
            max_episodes=max_episodes,
            num_failed=self._num_failed,
            curves=self._curves(),
            spent=self._spent,
            under_way=tuple(calls) if status == "running" else (),
            idle_s=None if last == -math.inf else max(0.0, now - last),
            summary=summary_of(self.path, manifest, self._spent),
            problem=f"{self._num_unreadable} lines cannot be read" if self._num_unreadable else "",
        )

    def _size(self, manifest: Manifest) -> tuple[int, int]:
        if self._num_seeds is None or manifest.evaluation is None:
            return manifest.size
        config = {**manifest.evaluation["config"], "num_seeds": self._num_seeds}  # it was extended
        return evaluation_size(config, has_kinds=manifest.evaluation.get("has_kinds", False))

    def _status(self, manifest: Manifest, now: float) -> Status:
        log, times = self.path / LOG, read_times(self.path, last_change=0.0)
        if manifest.evaluation is None:
            threshold = manifest.measurement.get("success_threshold")
            last = self._rewards.get(max(self._rewards, default=-1))
            is_finished = len(self._rewards) >= manifest.num_steps
            is_finished = is_finished or (isinstance(threshold, float) and last is not None and last >= threshold)
            # A reflection follows each meta-step, also the last one; in metagym 0.1 the last one had no reflection.
            is_old = str(manifest.measurement.get("metagym")).startswith("0.1.")
            is_finished = is_finished and self._num_reflections + is_old >= len(self._rewards)
            is_finished = is_finished or times.is_end_of(log)
        else:
            result = self.path / (TUNED if manifest.is_tuning else REPORT)
            # A copy has other times of files, but folders of earlier versions have nothing else.
            is_after_log = times.is_end_of(log) if times.tells_end else written_at(log) <= written_at(result)
            is_finished = log.exists() and result.exists() and is_after_log
        if is_finished:
            return "finished"
        is_written = has_writer(self.path / LOCK)
        self._saw_writer = self._saw_writer or is_written
        # A writer that was never seen, but whose lines arrive, is on another machine.
        is_elsewhere = not self._saw_writer and now - self._grew_at < QUIET_S
        return "running" if is_written or is_elsewhere else "stopped"

    def _curves(self) -> tuple[FamilyCurve, ...]:
        if self._rewards:
            return (FamilyCurve(online=_filled(self._rewards)),)
        return tuple(
            FamilyCurve(
                family=family,
                online=self._curve(family, Role.ONLINE),
                validation=self._curve(family, Role.VALIDATION),
                tests={
                    role.value: mean
                    for role in (Role.TEST_FIRST, Role.TEST_CHOSEN, Role.TEST_LAST)
                    if (mean := _mean(self._measured(family, role).values())) is not None
                },
            )
            for family in dict.fromkeys(family for family, _, _, _ in self._means)
        )

    def _curve(self, family: str, role: Role) -> tuple[float | None, ...]:
        measured = self._measured(family, role)
        indices = {index for _, index in measured}
        return _filled({index: _mean([mean for (_, of), mean in measured.items() if of == index]) for index in indices})

    def _measured(self, family: str, role: Role) -> dict[tuple[int, int], float | None]:
        return {
            (seed, index): mean for (own, seed, of, index), mean in self._means.items() if (own, of) == (family, role)
        }


def _phase(arm: str, meta_step: int) -> str:
    """Return the purpose of an episode: a scored one names it at the end of its arm, such as `validation-3`."""
    last = arm.rpartition("/")[2]
    role = last.rpartition("-")[0] or last
    return role if role in set(Role) else f"meta-step {meta_step}"


def _filled(values: Mapping[int, float | None]) -> tuple[float | None, ...]:
    return tuple(values.get(index) for index in range(max(values, default=-1) + 1))


def _mean(values: Collection[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
