"""What a watcher sees: the state of one run folder, and of a folder of them. Data only."""

from __future__ import annotations

from typing import Literal

from metagym.budget import Spending
from metagym.types import Record, Text

Status = Literal["running", "finished", "stopped", "unreadable"]
"""`stopped`: something is left to do, and no process is seen to write. One on another machine is not seen."""


Kind = Literal["run", "evaluation", "stream", "unreadable"]


class CallUnderWay(Record):
    """A model call that was begun and has no outcome yet."""

    role: str
    model: str
    retry: int
    age_s: float
    """How long it has been under way, at least."""


class FamilyCurve(Record):
    """The scores of one family, or of a single meta-episode, so far. An entry is None where none is known."""

    family: Text = ""
    """Empty in a single meta-episode, whose batches may mix families."""
    online: tuple[float | None, ...]
    """Mean score of each meta-step's fresh batch; over the seeds that have it."""
    validation: tuple[float | None, ...] = ()
    """Mean score of each prompt on the validation tasks."""
    tests: dict[str, float] = {}
    """Mean test score by role (`test first`, `test chosen`, ...)."""


class RunState(Record):
    """One run folder, as it stands."""

    name: Text
    path: Text
    kind: Kind
    environment: Text = ""
    status: Status
    scripted: bool = False
    phase: Text = ""
    """What was finished last: `meta-step 3`, `validation`, `test chosen`."""
    num_meta_steps: int = 0
    max_meta_steps: int = 0
    num_episodes: int = 0
    """Episodes with a score."""
    max_episodes: int = 0
    """As many are asked for, at most: prompts that are equal are validated once. 0 where it is not known."""
    num_failed: int = 0
    """Episodes that the apparatus failed on, counted each time."""
    curves: tuple[FamilyCurve, ...] = ()
    spent: Spending = Spending()
    """What the settled model calls took."""
    under_way: tuple[CallUnderWay, ...] = ()
    idle_s: float | None = None
    """Since the last line was written; None where there is none."""
    problem: Text = ""
    """What cannot be read."""


class Watched(Record):
    """A run folder, or a folder of them, as it stands."""

    path: Text
    status: Status
    is_over: bool
    """Whether nothing more is to be expected."""
    runs: tuple[RunState, ...]
    episodes_per_min: float | None = None
    """Over the last minute of watching; None where nothing was watched yet."""
    calls_per_min: float | None = None
