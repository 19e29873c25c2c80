"""Storage of an evaluation: opening its run folder, and writing and reading its report."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metagym.errors import RunFolderError
from metagym.evaluation.config import EvaluationConfig
from metagym.evaluation.controls import recorded_kind
from metagym.evaluation.report import EvaluationReport, build_report
from metagym.files import write_whole
from metagym.runs import (
    MANIFEST,
    REPORT,
    AddedSeeds,
    Copies,
    Learned,
    Manifest,
    Measurement,
    MemoryStore,
    RecordStore,
    RunFolder,
)
from metagym.types import Record, Reflection, sum_usage

logger = logging.getLogger(__name__)


def open_store(path: str | Path | None, manifest: Manifest) -> RecordStore:
    """Return a store in memory, or with `path` a new run folder or the one that already holds this evaluation."""
    if path is None:
        return MemoryStore(manifest)
    path = Path(path)
    if not os.path.exists(path / MANIFEST):  # an invalid path is reported by `create`
        return RunFolder.create(path, manifest)
    run = RunFolder.open(path, writing=True)
    try:
        check_unchanged(run, manifest)
    except RunFolderError:
        run.close()
        raise
    return run


def check_unchanged(run: RunFolder, manifest: Manifest, *, adds_seeds: bool = False) -> None:
    """Raise RunFolderError unless the folder holds this evaluation; with `adds_seeds`, with fewer seeds."""
    if run.manifest.evaluation is None:
        raise RunFolderError(f"{run.path} holds a single meta-episode, no evaluation. Name another folder.")
    looks, measurement = looks_of(run), manifest.measurement
    if adds_seeds or measurement["evaluation"]["num_seeds"] in looks:  # as it was begun, or as it was extended
        measurement = with_num_seeds(measurement, looks[0])
    run.check_fingerprints(measurement, manifest.arm)


def looks_of(store: RecordStore) -> tuple[int, ...]:
    """Return the numbers of seeds at which an evaluation had, or will have, a result: as begun, then as extended.

    Measurements of further seeds are a look as well: the log has lost its record.
    """
    assert store.manifest.evaluation is not None
    config = store.manifest.evaluation["config"]
    looks = (config["num_seeds"], *(item.num_seeds for item in store.all(AddedSeeds).values()))
    measured = 1 + max((item.seed - config["first_seed"] for item in store.all(Measurement).values()), default=-1)
    return (*looks, measured) if measured > looks[-1] else looks


def with_num_seeds(measurement: Mapping[str, Any], num_seeds: int) -> dict[str, Any]:
    """Return the measurement fingerprint of an evaluation with another number of seeds."""
    return {**measurement, "evaluation": {**measurement["evaluation"], "num_seeds": num_seeds}}


def record_extension(path: str | Path, num_seeds: int) -> None:
    """Record in the run folder that its evaluation has `num_seeds` seeds from now on; a second call does nothing."""
    with RunFolder.open(path, writing=True) as run:
        first, *later = looks_of(run)
        for look in (*later, num_seeds):  # with a look whose record was lost
            if look != first and run.get(AddedSeeds, look) is None:
                run.put(look, AddedSeeds(num_seeds=look))


def report_of(store: RecordStore) -> EvaluationReport:
    """Return the report of an evaluation as far as it got; in a run folder it is written to `report.json` as well."""
    manifest = store.manifest
    if manifest.evaluation is None:
        raise RunFolderError("Expected an evaluation, got a single meta-episode: `metagym show` shows that.")
    if manifest.kind == "stream":
        raise RunFolderError(f"Expected an evaluation by the ICT protocol, got a stream: its report is in {REPORT}.")
    looks = looks_of(store)
    reflections = list(store.all(Reflection).values())
    completions = [item.completion for item in reflections]
    report = build_report(
        EvaluationConfig.model_validate({**manifest.evaluation["config"], "num_seeds": looks[-1]}),
        tuple(store.all(Measurement).values()),
        arm=manifest.evaluation["arm"],
        kind=recorded_kind(manifest.evaluation),
        reflector_usage=sum_usage(item.usage for item in completions if item is not None),
        learned=tuple(store.all(Learned).values()),
        scripted=manifest.scripted,
        measurement=with_num_seeds(manifest.measurement, looks[-1]) if len(looks) > 1 else manifest.measurement,
        reflector=manifest.reflector,
        learn_from=manifest.evaluation["learn_from"],
        needs_chance=manifest.evaluation.get("needs_chance", ""),
        copies=tuple(store.all(Copies).values()),
        task_reads=dict(Counter(name for item in reflections for name in item.task_reads)),
        contents=manifest.evaluation.get("contents", {}),
        has_kinds=manifest.evaluation.get("has_kinds", False),
        looks=looks,
    )
    write_report(store, report, is_finished=not report.unfinished)
    if isinstance(store, RunFolder) and store.is_writing:
        for warning in store.warnings:
            logger.warning("In %s: %s", store.path, warning)
    return report


def write_report(store: RecordStore, report: Record, *, is_finished: bool = True) -> None:
    """Write the report, the end of an evaluation, if the store is a run folder that this process writes to."""
    if isinstance(store, RunFolder) and store.is_writing:
        write_whole(store.path / REPORT, report.model_dump_json(indent=2) + "\n")
        if is_finished:
            store.finish()


def read_report(path: str | Path) -> EvaluationReport:
    """Return the report of the evaluation in a run folder, as far as it got. No environment is needed."""
    with RunFolder.open(path) as run:
        return report_of(run)
