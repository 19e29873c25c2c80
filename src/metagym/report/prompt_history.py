"""Collect the prompts of each meta-episode: what changed, why, and the score of each prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from metagym.evaluation.figures import MeasurementTable
from metagym.report.run_reading import Run
from metagym.report.word_diff import word_diff
from metagym.runs import Role
from metagym.types import Reflection


def histories(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return one JSON mapping for each meta-episode of each run: its name, and a row for each prompt."""
    return [history for number, run in enumerate(runs) for history in _of_run(number, run)]


def _of_run(number: int, run: Run) -> list[dict[str, Any]]:
    if run.kind == "meta-episode" and run.history:
        prompts = [meta_step.prompt for meta_step in run.history]
        reflections = [meta_step.reflection for meta_step in run.history]
        # The prompt of a reflection after the last meta-step was not played: it has no score.
        scores = [{"score": meta_step.reward, "failed": meta_step.num_failed} for meta_step in run.history]
        return [{"run": number, "family": "", "seed": None, "rows": _rows(prompts, reflections, scores)}]
    if run.kind != "evaluation":
        return []
    table = MeasurementTable(run.measurements)
    return [
        {"run": number, "family": family, "seed": seed, "rows": rows}
        for family in table.families
        for seed in table.seeds
        if (rows := _evaluated(run, table, family, seed))
    ]


def _evaluated(run: Run, table: MeasurementTable, family: str, seed: int) -> list[dict[str, Any]]:
    chosen = table.get(family, seed, Role.TEST_CHOSEN)
    prompts: list[str] = []
    scores: list[dict[str, Any]] = []
    num_steps = 0 if run.report is None else run.report.config.num_steps
    for index in range(num_steps + 1):
        online = table.get(family, seed, Role.ONLINE, index)
        validation = table.get(family, seed, Role.VALIDATION, index)
        known = validation or online
        if known is None:
            break
        prompts.append(known.prompt)
        scores.append(
            {
                "score": None if validation is None else validation.mean,
                "online": None if online is None else online.mean,
                "failed": sum(score is None for item in (online, validation) if item for score in item.scores),
                "chosen": chosen is not None and chosen.index == index,
            }
        )
    name = f"{run.arm}/{family}/{seed}"
    reflections = [None, *(run.reflections.get((name, index)) for index in range(len(prompts) - 1))]
    return _rows(prompts, reflections, scores)


def _rows(
    prompts: Sequence[str], reflections: Sequence[Reflection | None], scores: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    rows = []
    for index, (prompt, reflection, score) in enumerate(zip(prompts, reflections, scores, strict=True)):
        row: dict[str, Any] = {"prompt": prompt, **score}
        if index:
            row["changes"] = word_diff(prompts[index - 1], prompt)
        if reflection is not None:
            row |= {"analysis": reflection.analysis, "problem": reflection.problem, "scripted": reflection.scripted}
            if reflection.completion is not None:
                row["completion"] = reflection.completion.text
        rows.append(row)
    return rows
