"""Storage of an evaluation: opening its run folder, and writing and reading its report."""

from __future__ import annotations

import os
from pathlib import Path

from metagym.errors import RunFolderError
from metagym.evaluation.arms import recorded_kind
from metagym.evaluation.config import EvaluationConfig
from metagym.evaluation.report import EvaluationReport, build_report
from metagym.files import write_whole
from metagym.runs import MANIFEST, REPORT, Learned, Manifest, Measurement, RecordStore, RunFolder
from metagym.types import Record, Reflection, Usage


def open_store(path: str | Path, manifest: Manifest) -> RunFolder:
    """Make a run folder for the evaluation, or open the one that already holds it.

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


def report_of(store: RecordStore) -> EvaluationReport:
    """Return the report of what a store holds; in a run folder it is written to `report.json` as well."""
    manifest = store.manifest
    if manifest.evaluation is None:
        raise RunFolderError("Expected an evaluation, got a single meta-episode: `metagym show` shows that.")
    if manifest.evaluation.get("protocol") == "stream":
        raise RunFolderError(f"Expected an evaluation by the ICT protocol, got a stream: its report is in {REPORT}.")
    report = build_report(
        EvaluationConfig.model_validate(manifest.evaluation["config"]),
        tuple(store.all(Measurement).values()),
        arm=manifest.evaluation["arm"],
        kind=recorded_kind(manifest.evaluation),
        reflector_usage=sum(
            (item.completion.usage for item in store.all(Reflection).values() if item.completion is not None), Usage()
        ),
        learned=tuple(store.all(Learned).values()),
        scripted=manifest.scripted,
        about={
            "measurement": manifest.measurement,
            "reflector": manifest.reflector,
            "learn_from": manifest.evaluation["learn_from"],
        },
    )
    write_report(store, report)
    return report


def write_report(store: RecordStore, report: Record) -> None:
    """Write the report to `report.json` if the store is a run folder that this process writes to."""
    if isinstance(store, RunFolder) and store.is_writing:
        write_whole(store.path / REPORT, report.model_dump_json(indent=2) + "\n")


def read_report(path: str | Path) -> EvaluationReport:
    """Return the report of the evaluation in a run folder, as far as it got. No environment is needed.

    Raises:
        RunFolderError: the folder holds no evaluation.
    """
    with RunFolder.open(path) as run:
        return report_of(run)
