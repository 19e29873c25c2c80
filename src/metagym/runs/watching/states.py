"""The states that a watcher returns: of one run folder, and of a folder of them. Data only."""

from __future__ import annotations

from typing import Literal

from metagym.budget import Spending
from metagym.types import Record, Text

Status = Literal["running", "finished", "stopped", "unreadable"]
"""`stopped`: the run is not finished, and no process is seen that writes. One on another machine is not seen."""
Kind = Literal["run", "evaluation", "stream", "unreadable"]


class CallUnderWay(Record):
    """A model call that has started and has no outcome yet."""

    role: str
    model: str
    retry: int
    age_s: float
    """Seconds since it started, at least."""


class FamilyCurve(Record):
    """The scores of one family, or of a single meta-episode, so far. None stands for a score that is not known."""

    family: Text = ""
    """Empty in a single meta-episode, whose batches may mix families."""
    online: tuple[float | None, ...]
    """Mean score of the fresh batch of each meta-step, over the seeds that have one."""
    validation: tuple[float | None, ...] = ()
    """Mean score of each prompt on the validation tasks."""
    tests: dict[str, float] = {}
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
    problem: Text = ""
    """What cannot be read; empty if there is no problem."""


class Watched(Record):
    """The state of a run folder, or of a folder of run folders."""

    path: Text
    status: Status
    is_over: bool
    """Whether the runs have ended, so that nothing more will be written."""
    runs: tuple[RunState, ...]
    episodes_per_min: float | None = None
    """Over the last minute of watching; None at the start."""
    calls_per_min: float | None = None
