"""Draw heat maps of scores in SVG: tasks in rows, prompts or meta-steps in columns. Failures are crossed out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from metagym.report.number_format import format_number
from metagym.report.svg import tag

CELL_HEIGHT, GAP, LABEL, HEAD = 15, 2, 128, 18
MAX_ROWS = 60


@dataclass(frozen=True)
class Cell:
    """One score."""

    score: float | None
    """None if the episode failed for infrastructure reasons."""
    tip: str
    """The tooltip: what the score belongs to."""
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
    score_range: tuple[float, float] = (0.0, 1.0)

    @property
    def num_left_out(self) -> int:
        """The number of rows that are not drawn."""
        return max(0, len(self.rows) - MAX_ROWS)


def draw_heat_map(heat_map: HeatMap, *, scripted: bool) -> str:
    """Return the heat map as an SVG."""
    rows = heat_map.rows[:MAX_ROWS]
    num_columns = max((len(cells) for _, cells in rows), default=0)
    size = 26 if num_columns <= 16 else 14
    label = LABEL if any(name for name, _ in rows) else 24
    parts = [
        tag("text", text=str(index), x=label + index * size + (size - GAP) / 2, y=HEAD - 6, klass="tick mid")
        for index in range(0, num_columns, 1 if num_columns <= 16 else 5)
    ]
    for row_number, (name, cells) in enumerate(rows):
        top = HEAD + row_number * (CELL_HEIGHT + GAP)
        if name:
            shown = name if len(name) <= 19 else f"{name[:8]}…{name[-10:]}"
            parts.append(tag("text", text=shown, x=label - 8, y=top + CELL_HEIGHT - 4, klass="tick end", data_tip=name))
        parts += [
            _cell(cell, label + index * size, top, size - GAP, heat_map.score_range)
            for index, cell in enumerate(cells)
            if cell is not None
        ]
    width, height = label + num_columns * size, HEAD + len(rows) * (CELL_HEIGHT + GAP)
    mark = "SCRIPTED. " if scripted else ""
    description = f"{mark}Scores, {heat_map.title}: {len(rows)} {heat_map.rows_are} by {num_columns} {heat_map.columns}"
    return tag(
        "svg", *parts, viewBox=f"0 0 {width} {height}", width=width, height=height,
        role="img", aria_label=description, klass="heat",
    )  # fmt: skip


def _cell(cell: Cell, x: float, y: float, width: float, score_range: tuple[float, float]) -> str:
    low, high = score_range
    shown = "infrastructure error" if cell.score is None else format_number(cell.score)
    common: dict[str, Any] = {"x": x, "y": y, "width": width, "height": CELL_HEIGHT, "rx": 2.0}
    parts = []
    if cell.score is not None:
        level = min(1.0, max(0.0, (cell.score - low) / (high - low)))
        parts.append(tag("rect", **common, klass="full", fill_opacity=0.04 + 0.96 * level))
    else:
        d = f"M{x:.0f} {y:.0f}l{width:.0f} {CELL_HEIGHT}m0 -{CELL_HEIGHT}l-{width:.0f} {CELL_HEIGHT}"
        parts.append(tag("path", d=d, klass="failed"))
    parts.append(tag("rect", **common, klass="edge", data_tip=f"{cell.tip}: {shown}", data_go=cell.go or None))
    return "".join(parts)
