"""Read run folders into values for the report. A folder that cannot be read gives the reason instead."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from metagym.budget import Spending
from metagym.budget.ledger import SpendingKey
from metagym.errors import MetaGymError, RunFolderError
from metagym.evaluation.arms import ArmKind, is_control, recorded_kind
from metagym.evaluation.report import EvaluationReport
from metagym.evaluation.store import report_of
from metagym.evaluation.stream import StreamReport
from metagym.report.episode_selection import Choice, choose, share_out
from metagym.runs import LOG, MANIFEST, REPORT, Manifest, Measurement, RunFolder, read_manifest
from metagym.runs.folder import load_ledger
from metagym.types import MetaStep, Reflection, Trajectory

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
    """Why the run cannot be read, or what is missing; empty if there is no problem."""
    history: tuple[MetaStep, ...] = ()
    """The meta-steps of a single meta-episode."""
    report: EvaluationReport | None = None
    stream: StreamReport | None = None
    measurements: tuple[Measurement, ...] = ()
    reflections: dict[tuple[str, int], Reflection] = field(default_factory=dict)
    spending: dict[SpendingKey, Spending] = field(default_factory=dict)
    """Model calls by role, purpose and meta-step."""
    episodes: tuple[Trajectory, ...] = ()
    """The episodes that the report shows: all of them, or a selection."""
    num_episodes: int = 0

    @property
    def scripted(self) -> bool:
        """Whether a scripted stand-in played or reflected."""
        parts = (
            self.manifest is not None and self.manifest.scripted,
            self.report is not None and self.report.scripted,
            any(meta_step.scripted for meta_step in self.history),
            any(item.scripted for item in self.measurements),
            any(item.scripted for item in self.episodes),
        )
        return any(parts)

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
    """Return the run folders at `path` or anywhere below it, sorted; a log without a manifest counts.

    Raises:
        RunFolderError: there is nothing at `path`.
    """
    if not os.path.exists(path):  # also False for a name that is too long
        raise RunFolderError(f"Expected a run folder, or a folder of them, at {path}: nothing exists there.")
    if not path.is_dir():
        raise RunFolderError(f"Expected a run folder at {path}, got a file.")
    files = (file for name in (MANIFEST, f"{MANIFEST}.part", LOG) for file in path.rglob(name))
    return sorted({file.parent for file in files})


def read_runs(paths: Sequence[Path], *, max_episodes: int) -> list[Run]:
    """Read the runs at and below `paths`, with at most `max_episodes` episodes in all, divided evenly.

    Raises:
        RunFolderError: there is nothing at one of the paths.
    """
    found = {folder: path for path in paths for folder in find_runs(path)}
    choices: dict[Path, Choice] = {}
    problems: dict[Path, str] = {}
    for folder in found:
        try:
            with RunFolder.open(folder) as run:
                choices[folder] = choose(run)
        except (MetaGymError, OSError, ValueError) as error:
            problems[folder] = str(error)
    shares = share_out([choice.num_episodes for choice in choices.values()], max_episodes)
    limits = dict(zip(choices, shares, strict=True))
    runs = [
        _unreadable(folder, problems[folder]) if folder in problems else _read(folder, choices[folder], limits[folder])
        for folder in found
    ]
    counted = Counter(run.name for run in runs)
    return [run if counted[run.name] == 1 else replace(run, name=str(run.path)) for run in runs]


def _read(folder: Path, choice: Choice, limit: int) -> Run:
    try:
        with RunFolder.open(folder) as run:
            return _read_open(run, choice, limit)
    except (MetaGymError, OSError, ValueError) as error:
        return _unreadable(folder, str(error))


def _read_open(run: RunFolder, choice: Choice, limit: int) -> Run:
    manifest, folder = run.manifest, run.path
    about = manifest.evaluation
    spending, problem = _spending(folder)
    common: dict[str, Any] = {
        "path": folder,
        "manifest": manifest,
        "num_episodes": run.num_episodes,
        "spending": spending,
        "episodes": tuple(run.episodes(choice.of(limit))),
    }
    if about is None:
        return Run(name=folder.name, kind="meta-episode", history=run.history, problem=problem, **common)
    measurements = tuple(run.all(Measurement).values())
    common |= {
        "name": str(about.get("arm", folder.name)),
        "measurements": measurements,
        "reflections": run.all(Reflection),
    }
    if about.get("protocol") == "stream":
        stream, problem = _stream(folder, problem)
        return Run(kind="stream", stream=stream, problem=problem, **common)
    if not measurements:
        problem = "Nothing is measured yet: no meta-step of this evaluation is finished."
        return Run(kind="evaluation", problem=problem, **common)
    if not (folder / REPORT).exists():
        problem = "This evaluation is not finished: the figures cover what was measured so far."
    return Run(kind="evaluation", report=report_of(run), problem=problem, **common)


def _stream(folder: Path, problem: str) -> tuple[StreamReport | None, str]:
    try:
        return StreamReport.model_validate_json((folder / REPORT).read_text(encoding="utf-8")), problem
    except OSError:
        return None, f"The stream is not finished: there is no {REPORT} yet."
    except ValidationError as error:
        return None, f"{REPORT} cannot be read: {error}"


def _spending(folder: Path) -> tuple[dict[SpendingKey, Spending], str]:
    try:
        return load_ledger(folder).rows(), ""
    except RunFolderError as error:
        return {}, str(error)


def _unreadable(folder: Path, problem: str) -> Run:
    manifest: Manifest | None = None
    try:
        manifest = read_manifest(folder)
    except RunFolderError:
        written_by = _schema(folder)
        if written_by:
            problem = f"{problem} ({written_by})"
    return Run(path=folder, name=folder.name, kind="unreadable", manifest=manifest, problem=problem)


def _schema(folder: Path) -> str:
    """Return which metagym wrote an unreadable manifest; empty if the manifest does not say so."""
    try:
        version = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["measurement"]["metagym"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return f"it was written by metagym {version}"
