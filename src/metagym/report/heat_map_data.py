"""Choose the heat maps of a run: tasks by prompts in an evaluation, tasks by meta-steps in a single meta-episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from metagym.evaluation.figures import MeasurementTable
from metagym.report.heat_map import Cell, HeatMap
from metagym.report.run_reading import Run
from metagym.runs import Role
from metagym.types import Trajectory


def maps_of(number: int, run: Run, episodes: Sequence[Mapping[str, Any]]) -> list[HeatMap]:
    """Return the heat maps of run `number`; `episodes` are the rows of the report's index."""
    if run.report is not None:
        return _evaluated(number, run)
    if run.history:
        return _single(number, run, episodes)
    return []


def _evaluated(number: int, run: Run) -> list[HeatMap]:
    assert run.report is not None
    table, num_prompts = MeasurementTable(run.measurements), run.report.config.num_steps + 1
    maps = []
    for family in table.families:
        scores: dict[str, list[list[float | None]]] = {}
        for seed in table.seeds:
            for index in range(num_prompts):
                found = table.get(family, seed, Role.VALIDATION, index)
                for task_id, score in zip(found.task_ids, found.scores, strict=True) if found else ():
                    scores.setdefault(task_id, [[] for _ in range(num_prompts)])[index].append(score)
        rows = [
            (task, [_mean_cell(number, task, index, column) for index, column in enumerate(columns)])
            for task, columns in scores.items()
        ]
        if rows:
            rows.sort(key=lambda row: -_total(row[1]))
            maps.append(HeatMap(family, rows, "prompts", "validation tasks", run.report.config.score_range))
    return maps


def _mean_cell(number: int, task: str, index: int, scores: Sequence[float | None]) -> Cell | None:
    if not scores:
        return None
    known = [score for score in scores if score is not None]
    go = _list_of(run=number, task=task, phase="validation", index=index)
    tip = f"{task}, prompt {index}, mean of {len(known)} seeds"
    return Cell(sum(known) / len(known) if known else None, tip, go)


def _single(number: int, run: Run, episodes: Sequence[Mapping[str, Any]]) -> list[HeatMap]:
    places: dict[tuple[str, int, int], int] = {}
    for position, row in enumerate(episodes):
        if row["run"] == number:
            places.setdefault((row["task"], row["index"], row["prompt"]), position + 1)
    by_name = {key[:2]: place for key, place in places.items()}
    scores = [item.score for step in run.history for item in step.trajectories if item.score is not None]
    score_range = (min([0.0, *scores]), max([1.0, *scores]))
    tasks = [item.task.id for meta_step in run.history for item in meta_step.trajectories]
    if 2 * len(set(tasks)) <= len(tasks) + 1:  # tasks are repeated: a row is a task
        rows = [(task, _task_row(run, task, by_name)) for task in dict.fromkeys(tasks)]
        return [HeatMap("repeated tasks", rows, "meta-steps", "tasks", score_range)]
    batches = [
        sorted(meta_step.trajectories, key=lambda item: -(item.score if item.score is not None else -9e9))
        for meta_step in run.history
    ]
    height = max(map(len, batches), default=0)
    slots = [
        ("", [_cell(batch[row], index, by_name) if row < len(batch) else None for index, batch in enumerate(batches)])
        for row in range(height)
    ]
    return [HeatMap("fresh tasks in each column, best first", slots, "meta-steps", "places in the batch", score_range)]


def _task_row(run: Run, task: str, places: Mapping[tuple[str, int], int]) -> list[Cell | None]:
    row: list[Cell | None] = []
    for index, meta_step in enumerate(run.history):
        found = [item for item in meta_step.trajectories if item.task.id == task]
        row.append(_cell(found[0], index, places) if found else None)
    return row


def _cell(trajectory: Trajectory, index: int, places: Mapping[tuple[str, int], int]) -> Cell:
    place = places.get((trajectory.task.id, index))
    go = "" if place is None else f"#/episode/{place}"
    return Cell(trajectory.score, f"{trajectory.task.id}, meta-step {index}", go)


def _list_of(**filters: Any) -> str:
    return "#/episodes?" + urlencode(filters)


def _total(cells: Sequence[Cell | None]) -> float:
    return sum(cell.score or 0.0 for cell in cells if cell is not None)
