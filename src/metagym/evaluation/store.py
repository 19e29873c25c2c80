"""Where an evaluation keeps what it played: a run folder, or the memory of this process. And its report."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from metagym.errors import RunFolderError
from metagym.evaluation.config import EvaluationConfig
from metagym.evaluation.report import EvaluationReport, build_report
from metagym.runs import MANIFEST, Learned, Manifest, Measurement, RunFolder
from metagym.types import Episode, Record, Reflection, Trajectory, Usage

REPORT = "report.json"


class EvaluationStore(Protocol):
    """Keeps episodes, reflections and measurements, and gives them back."""

    manifest: Manifest

    def record_episode(self, trajectory: Trajectory) -> None: ...  # noqa: D102

    def recall_episode(self, episode: Episode) -> Trajectory | None: ...  # noqa: D102

    def record_reflection(self, index: int, reflection: Reflection, *, arm: str = "") -> None: ...  # noqa: D102

    def recall_reflection(self, index: int, *, arm: str = "") -> Reflection | None: ...  # noqa: D102

    def record_measurement(self, measurement: Measurement) -> None: ...  # noqa: D102

    def recall_measurement(self, key: tuple[str, int, str, int]) -> Measurement | None: ...  # noqa: D102

    def record_learned(self, learned: Learned) -> None: ...  # noqa: D102

    @property
    def measurements(self) -> tuple[Measurement, ...]: ...  # noqa: D102

    @property
    def learned(self) -> tuple[Learned, ...]: ...  # noqa: D102

    @property
    def reflections(self) -> Iterable[Reflection]: ...  # noqa: D102

    def close(self) -> None: ...  # noqa: D102


class MemoryStore:
    """Keeps reflections and measurements in memory, and no episodes."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self._reflections: dict[tuple[str, int], Reflection] = {}
        self._measurements: dict[tuple[str, int, str, int], Measurement] = {}
        self._learned: dict[tuple[str, int], Learned] = {}

    def record_episode(self, trajectory: Trajectory) -> None:
        """Forget the episode."""

    def recall_episode(self, episode: Episode) -> Trajectory | None:
        """Return None: no episode is kept."""
        return None

    def record_reflection(self, index: int, reflection: Reflection, *, arm: str = "") -> None:
        """Keep a reflection."""
        self._reflections[arm, index] = reflection

    def recall_reflection(self, index: int, *, arm: str = "") -> Reflection | None:
        """Return the reflection; None where there is none yet."""
        return self._reflections.get((arm, index))

    def record_measurement(self, measurement: Measurement) -> None:
        """Keep a measurement."""
        self._measurements[measurement.key] = measurement

    def recall_measurement(self, key: tuple[str, int, str, int]) -> Measurement | None:
        """Return the measurement of that key; None where there is none yet."""
        return self._measurements.get(key)

    def record_learned(self, learned: Learned) -> None:
        """Keep what a meta-episode learned."""
        self._learned[learned.key] = learned

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """All measurements, in the order in which they were made."""
        return tuple(self._measurements.values())

    @property
    def learned(self) -> tuple[Learned, ...]:
        """What the meta-episodes learned within their budgets, in the order in which they ended."""
        return tuple(self._learned.values())

    @property
    def reflections(self) -> tuple[Reflection, ...]:
        """All reflections, in the order in which they were made."""
        return tuple(self._reflections.values())

    def close(self) -> None:
        """Do nothing."""


def open_store(path: str | Path, manifest: Manifest) -> RunFolder:
    """Make a run folder for the evaluation, or go on with the one that is there.

    Raises:
        RunFolderError: the folder holds another run, or cannot be used.
    """
    path = Path(path)
    if not os.path.exists(path / MANIFEST):  # of what is no path at all, `create` says so
        return RunFolder.create(path, manifest)
    run = RunFolder.open(path, writing=True)
    try:
        if run.manifest.evaluation is None:
            raise RunFolderError(f"{path} holds a single meta-episode, no evaluation. Name another folder.")
        run.check_fingerprints(manifest.measurement, manifest.arm)
    except RunFolderError:
        run.close()
        raise
    return run


def report_of(store: EvaluationStore) -> EvaluationReport:
    """Return the report of what a store holds; in a run folder it is written to `report.json` as well."""
    manifest = store.manifest
    if manifest.evaluation is None:
        raise RunFolderError("Expected an evaluation, got a single meta-episode: `metagym show` shows that.")
    if manifest.evaluation.get("protocol") == "stream":
        raise RunFolderError(f"Expected an evaluation by the ICT protocol, got a stream: its report is in {REPORT}.")
    report = build_report(
        EvaluationConfig.model_validate(manifest.evaluation["config"]),
        store.measurements,
        arm=manifest.evaluation["arm"],
        reflector_usage=sum(
            (item.completion.usage for item in store.reflections if item.completion is not None), Usage()
        ),
        learned=store.learned,
        scripted=manifest.scripted,
        about={
            "measurement": manifest.measurement,
            "reflector": manifest.reflector,
            "learn_from": manifest.evaluation["learn_from"],
        },
    )
    write_report(store, report)
    return report


def write_report(store: EvaluationStore, report: Record) -> None:
    """Write the report to `report.json`, where the store is a run folder that this process writes to."""
    if isinstance(store, RunFolder) and store.is_writing:
        part = store.path / f"{REPORT}.part"
        part.write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
        part.replace(store.path / REPORT)


def read_report(path: str | Path) -> EvaluationReport:
    """Return the report of the evaluation in a run folder, as far as it got. No environment is needed.

    Raises:
        RunFolderError: there is none.
    """
    with RunFolder.open(path) as run:
        return report_of(run)
