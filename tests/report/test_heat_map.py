"""Heat maps as SVG."""

from __future__ import annotations

from metagym.report.heat_map import MAX_ROWS, Cell, HeatMap, draw_heat_map
from tests.report.conftest import parts


def test_a_heat_map_has_a_cell_for_each_score_and_crosses_out_what_failed() -> None:
    rows = [("task <1>", [Cell(1.0, "a", "#/episode/1"), None]), ("task 2", [Cell(0.0, "b"), Cell(None, "c")])]
    svg = draw_heat_map(HeatMap("law", rows, "prompts", "tasks"), scripted=True)
    assert [item.get("fill-opacity") for item in parts(svg, "full")] == ["1", "0.04"]
    assert len(parts(svg, "failed")) == 1
    assert [item.get("data-tip") for item in parts(svg, "edge")] == ["a: 1.00", "b: 0.00", "c: infrastructure error"]
    assert [item.get("data-go") for item in parts(svg, "edge")] == ["#/episode/1", None, None]
    assert "SCRIPTED. Scores, law: 2 tasks by 2 prompts" in svg


def test_a_long_heat_map_says_how_many_rows_it_leaves_out() -> None:
    rows = [(f"task {number}", [Cell(1.0, "")]) for number in range(MAX_ROWS + 5)]
    heat_map = HeatMap("law", rows, "prompts", "tasks")
    assert heat_map.num_left_out == 5
    assert len(parts(draw_heat_map(heat_map, scripted=False), "edge")) == MAX_ROWS
