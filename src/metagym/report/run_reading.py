"""Read run folders into values for the report. A folder that cannot be read gives the reason instead."""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from metagym.budget import Attempt, CallLog, Ledger, Spending
from metagym.budget.ledger import SpendingKey
from metagym.errors import MetaGymError, RunFolderError
from metagym.evaluation.arena import Standings
from metagym.evaluation.arena.standings import STANDINGS_FILE
from metagym.evaluation.controls import ArmKind, is_control, recorded_kind
from metagym.evaluation.family_stream import StreamReport
from metagym.evaluation.report import EvaluationReport
from metagym.evaluation.store import report_of
from metagym.report.episode_selection import by_importance, share_out
from metagym.runs import LOG, MANIFEST, REPORT, Key, Manifest, Measurement, RunFolder, read_manifest
from metagym.runs.folder import CALLS
from metagym.runs.notes import read_notes
from metagym.runs.summary import RunSummary, summary_of
from metagym.types import Episode, MetaStep, Reflection, Trajectory, step_seed

UNREADABLE = (MetaGymError, OSError, ValueError)
StepKey = tuple[str, int, int]  # the arm, the meta-step, and the seed of the step
Kind = Literal["meta-episode", "evaluation", "stream", "unreadable"]


@dataclass(frozen=True)
class Run:
    """The contents of one run folder, as far as it can be read."""

    path: Path
    name: str
    """The arm of an evaluation, else the name of the folder; the path if several runs have the same name."""
    kind: Kind
    manifest: Manifest | None = None
    problem: str = ""
    """Why the run cannot be read, or its missing parts; empty if there is no problem."""
    history: tuple[MetaStep, ...] = ()
    """The meta-steps of a single meta-episode."""
    report: EvaluationReport | None = None
    stream: StreamReport | None = None
    measurements: tuple[Measurement, ...] = ()
    reflections: dict[tuple[str, int], Reflection] = field(default_factory=dict)
    spending: dict[SpendingKey, Spending] = field(default_factory=dict)
    """Model calls by role, purpose and meta-step."""
    calls: dict[StepKey, Attempt] = field(default_factory=dict)
    """The call that returned the reply, for each step of the shown episodes that a model played."""
    episodes: tuple[Trajectory, ...] = ()
    """The episodes that the report shows: all of them, or a selection."""
    num_episodes: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    """How many of all episodes failed with each infrastructure error, by the beginning of its message."""
    numbers: dict[tuple[Key, str], int] = field(default_factory=dict)
    """The number of each episode in the log, by its key and prompt."""
    notes: dict[tuple[Key, str], str] = field(default_factory=dict)
    """Notes of people on episodes, by the key and the digest of the prompt."""
    summary: RunSummary | None = None
    """The players, start, duration and usage; None if the run cannot be read."""
    warnings: tuple[str, ...] = ()
    """Faults of more than a fifth of the replies or episodes."""

    @property
    def scripted(self) -> bool:
        """Whether a script played or reflected."""
        known = [item for item in (self.manifest, self.report) if item is not None]
        parts: tuple[Sequence[Manifest | EvaluationReport | MetaStep | Measurement | Trajectory], ...]
        parts = (known, self.history, self.measurements, self.episodes)
        return any(item.scripted for part in parts for item in part)

    @property
    def arm(self) -> str:
        """The arm of an evaluation, as in the names of its episodes; empty for other runs."""
        about = None if self.manifest is None else self.manifest.evaluation
        return "" if about is None else str(about.get("arm", ""))

    @property
    def arm_kind(self) -> ArmKind:
        """The kind of the arm: a method, the A/A run, a null control, or a tuning run."""
        return recorded_kind(None if self.manifest is None else self.manifest.evaluation)

    @property
    def is_control(self) -> bool:
        """Whether the run is a control arm: the A/A run or a null control."""
        return is_control(self.arm_kind)

    @property
    def env_id(self) -> str:
        """The id of the meta-environment; empty if it is not known."""
        return "" if self.manifest is None else self.manifest.env_id


def find_runs(path: Path) -> list[Path]:
    """Return the run folders at `path` or anywhere below it, sorted; a log without a manifest counts."""
    if not os.path.exists(path):  # also False for a name that is too long
        raise RunFolderError(f"Expected a run folder, or a folder of them, at {path}: nothing exists there.")
    if not path.is_dir():
        raise RunFolderError(f"Expected a run folder at {path}, got a file.")
    files = (file for name in (MANIFEST, f"{MANIFEST}.part", LOG) for file in path.rglob(name))
    return sorted({file.parent for file in files})


def read_runs(paths: Sequence[Path], *, max_episodes: int) -> list[Run]:
    """Read the runs at and below `paths`, with at most `max_episodes` episodes in all, divided evenly."""
    folders = list({folder.resolve(): folder for path in paths for folder in find_runs(path)}.values())
    episodes: dict[Path, list[Key]] = {folder: [] for folder in folders}
    for folder in folders:
        with contextlib.suppress(*UNREADABLE), RunFolder.open(folder) as run:
            episodes[folder] = by_importance(run)
    shares = share_out([len(keys) for keys in episodes.values()], max_episodes)
    runs = [_read(folder, set(keys[:share])) for (folder, keys), share in zip(episodes.items(), shares, strict=True)]
    counted = Counter(run.name for run in runs)
    return [run if counted[run.name] == 1 else replace(run, name=str(run.path)) for run in runs]


def _read(folder: Path, shown: set[Key]) -> Run:
    try:
        with RunFolder.open(folder) as run:
            return _read_open(run, shown)
    except UNREADABLE as error:
        problem = str(error)
    manifest: Manifest | None = None
    try:
        manifest = read_manifest(folder)
    except RunFolderError:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            about = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["measurement"]
            problem = f"{problem} (it was written by metagym {about['metagym']})"
    return Run(path=folder, name=folder.resolve().name, kind="unreadable", manifest=manifest, problem=problem)


def _read_open(run: RunFolder, shown: set[Key]) -> Run:
    manifest, folder = run.manifest, run.path
    about = manifest.evaluation
    common: dict[str, Any] = {
        "path": folder,
        "name": folder.resolve().name if about is None else str(about.get("arm", folder.resolve().name)),
        "manifest": manifest,
        "num_episodes": run.num_episodes,
        "errors": Counter(item.error[:300] or "no message" for item in run.failed_episodes()),
        "numbers": run.numbers,
        "notes": read_notes(folder),
        "warnings": run.warnings,
        "episodes": tuple(run.episodes(shown.__contains__)),
        "measurements": tuple(run.all(Measurement).values()),
        "reflections": run.all(Reflection),
        "calls": {},
    }
    problem = ""
    try:
        ledger = Ledger()
        ledger.load(_noting_calls(folder, common["calls"], common["episodes"]))
        common["spending"] = ledger.rows()
        common["summary"] = summary_of(folder, manifest, ledger.spent())
    except RunFolderError as error:
        problem = str(error)
    if about is None:
        return Run(kind="meta-episode", history=run.history, problem=problem, **common)
    if about.get("protocol") == "stream":
        stream = None
        try:
            stream = StreamReport.model_validate_json((folder / REPORT).read_text(encoding="utf-8"))
        except OSError:
            problem = f"The stream is not finished: there is no {REPORT} yet."
        except ValueError as error:
            problem = f"{REPORT} cannot be read: {error}"
        return Run(kind="stream", stream=stream, problem=problem, **common)
    if not common["measurements"]:
        problem = "Nothing is measured yet: no meta-step of this evaluation is finished."
        return Run(kind="evaluation", problem=problem, **common)
    if not (folder / REPORT).exists():
        problem = "This evaluation is not finished: the figures cover the measurements so far."
    return Run(kind="evaluation", report=report_of(run), problem=problem, **common)


def step_key(episode: Episode, step: int) -> StepKey:
    """Return the key of the model call that decided a step, as the log of calls has it."""
    return episode.arm, episode.meta_step, step_seed(episode.seed, step)


def _noting_calls(folder: Path, calls: dict[StepKey, Attempt], episodes: Sequence[Trajectory]) -> Iterator[Attempt]:
    """Yield the logged attempts, and note in `calls` those that returned a reply for a step of the episodes."""
    wanted = {step_key(item.episode, step) for item in episodes for step in range(len(item.steps))}
    for attempt in CallLog(folder / CALLS).read():
        key = attempt.arm, attempt.meta_step, attempt.seed
        if attempt.outcome == "whole" and attempt.role == "actor" and key in wanted:
            calls[key] = attempt
        yield attempt


def standings_of(group: Sequence[Run]) -> Standings | None:
    """Return the standings of the arena if these runs are all of its arms; otherwise None."""
    folders = {run.path.parent for run in group}
    if len(folders) != 1:
        return None
    try:
        standings = Standings.model_validate_json((folders.pop() / STANDINGS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # an arena writes them when it ends; until then its arms are shown one by one
    return standings if {row.arm for row in standings.rows} == {run.arm for run in group} else None
