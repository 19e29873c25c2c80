"""Choose and draw the heat maps of a run, in SVG: tasks in rows, prompts or meta-steps in columns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any
from urllib.parse import urlencode

from metagym.evaluation.gains import MeasurementTable
from metagym.evaluation.output.panels import Range, axis_of
from metagym.evaluation.report import EvaluationReport
from metagym.report.number_format import format_number
from metagym.report.run_reading import Run
from metagym.report.svg import figure, tag
from metagym.runs import Role
from metagym.types import Trajectory

CELL_HEIGHT, GAP, LABEL, HEAD = 15, 2, 128, 18
MAX_ROWS = 60


@dataclass(frozen=True)
class Cell:
    """One score."""

    score: float | None
    """None if the episode failed for infrastructure reasons."""
    tip: str
    """The tooltip: prompt, task and run of the score."""
    go: str = ""
    """The address in the report that a click opens."""


@dataclass(frozen=True)
class HeatMap:
    """A table of scores; a task that was not played has no cell."""

    title: str
    rows: Sequence[tuple[str, Sequence[Cell | None]]]
    columns: str
    """The noun for the columns."""
    rows_are: str
    score_range: Range = (0.0, 1.0)

    @property
    def num_left_out(self) -> int:
        """The number of rows that are not drawn."""
        return max(0, len(self.rows) - MAX_ROWS)


def maps_of(number: int, run: Run, episodes: Sequence[Mapping[str, Any]]) -> list[HeatMap]:
    """Return the heat maps of run `number`; `episodes` are the rows of the report's index."""
    if run.report is not None:
        return _evaluated(number, run, run.report)
    return [_single(number, run, episodes)] if run.history else []


def _evaluated(number: int, run: Run, report: EvaluationReport) -> list[HeatMap]:
    table, num_prompts = MeasurementTable(run.measurements), report.config.num_steps + 1
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
            rows.sort(key=lambda row: -sum(cell.score or 0.0 for cell in row[1] if cell is not None))
            maps.append(HeatMap(family, rows, "prompts", "validation tasks", report.scale.of_scores))
    return maps


def _mean_cell(number: int, task: str, index: int, scores: Sequence[float | None]) -> Cell | None:
    if not scores:
        return None
    known = [score for score in scores if score is not None]
    go = "#/episodes?" + urlencode({"run": number, "task": task, "phase": "validation", "index": index})
    tip = f"{task}, prompt {index}, mean of {len(known)} seeds"
    return Cell(sum(known) / len(known) if known else None, tip, go)


def _single(number: int, run: Run, episodes: Sequence[Mapping[str, Any]]) -> HeatMap:
    places: dict[tuple[str, int, int], int] = {}
    for position, row in enumerate(episodes):
        if row["run"] == number:
            places.setdefault((row["task"], row["index"], row["prompt"]), position + 1)
    addresses = {key[:2]: f"#/episode/{place}" for key, place in places.items()}
    batches = [meta_step.trajectories for meta_step in run.history]
    score_range = axis_of(item.score for batch in batches for item in batch)
    tasks = [item.task.id for batch in batches for item in batch]
    if 2 * len(set(tasks)) <= len(tasks) + 1:  # tasks are repeated: a row is a task
        by_task = [{item.task.id: item for item in reversed(batch)} for batch in batches]
        rows = [(task, _cells((batch.get(task) for batch in by_task), addresses)) for task in dict.fromkeys(tasks)]
        return HeatMap("repeated tasks", rows, "meta-steps", "tasks", score_range)
    ordered = [
        sorted(batch, key=lambda item: -math.inf if item.score is None else item.score, reverse=True)
        for batch in batches
    ]
    slots = [("", _cells(items, addresses)) for items in zip_longest(*ordered)]
    return HeatMap("fresh tasks in each column, best first", slots, "meta-steps", "places in the batch", score_range)


def _cells(batch: Iterable[Trajectory | None], addresses: Mapping[tuple[str, int], str]) -> list[Cell | None]:
    cells: list[Cell | None] = []
    for index, item in enumerate(batch):
        go = "" if item is None else addresses.get((item.task.id, index), "")
        cells.append(None if item is None else Cell(item.score, f"{item.task.id}, meta-step {index}", go))
    return cells


def draw_heat_map(heat_map: HeatMap, *, scripted: bool) -> str:
    """Return the heat map as an SVG."""
    rows = heat_map.rows[:MAX_ROWS]
    num_columns = max((len(cells) for _, cells in rows), default=0)
    size = 26 if num_columns <= 16 else 14
    left = LABEL if any(name for name, _ in rows) else 24
    parts = [
        tag("text", text=str(index), x=left + index * size + (size - GAP) / 2, y=HEAD - 6, klass="tick mid")
        for index in range(0, num_columns, 1 if num_columns <= 16 else 5)
    ]
    for row_number, (name, cells) in enumerate(rows):
        top = HEAD + row_number * (CELL_HEIGHT + GAP)
        if name:
            shown = name if len(name) <= 19 else f"{name[:8]}…{name[-10:]}"
            parts.append(tag("text", text=shown, x=left - 8, y=top + CELL_HEIGHT - 4, klass="tick end", data_tip=name))
        parts += [
            _draw_cell(cell, left + index * size, top, size - GAP, heat_map.score_range)
            for index, cell in enumerate(cells)
            if cell is not None
        ]
    width, height = left + num_columns * size, HEAD + len(rows) * (CELL_HEIGHT + GAP)
    mark = "SCRIPTED. " if scripted else ""
    label = f"{mark}Scores, {heat_map.title}: {len(rows)} {heat_map.rows_are} by {num_columns} {heat_map.columns}"
    return figure(parts, width, height, label=label, klass="heat", is_fixed=True)


def _draw_cell(cell: Cell, x: float, y: float, width: float, score_range: Range) -> str:
    low, high = score_range
    shown = "infrastructure error" if cell.score is None else format_number(cell.score)
    common: dict[str, Any] = {"x": x, "y": y, "width": width, "height": CELL_HEIGHT, "rx": 2.0}
    edge = tag("rect", **common, klass="edge", data_tip=f"{cell.tip}: {shown}", data_go=cell.go or None)
    if cell.score is None:
        d = f"M{x:.0f} {y:.0f}l{width:.0f} {CELL_HEIGHT}m0 -{CELL_HEIGHT}l-{width:.0f} {CELL_HEIGHT}"
        return tag("path", d=d, klass="failed") + edge
    level = min(1.0, max(0.0, (cell.score - low) / (high - low)))
    return tag("rect", **common, klass="full", fill_opacity=0.04 + 0.96 * level) + edge
