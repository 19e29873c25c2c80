"""Curves, whiskers and heat maps as SVG."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from metagym.evaluation.output.panels import Span
from metagym.report.charts import Panel, domain_of, draw_panel, whisker
from metagym.report.heat_map import MAX_ROWS, Cell, HeatMap, draw_heat_map
from metagym.report.svg import Scale, tag
from metagym.statistics import Estimate, mean_interval

FULL = Estimate(mean=0.5, low=0.0, high=1.0, num=3)
CURVE = [mean_interval([0.1, 0.2, 0.3]), None, mean_interval([0.7, 0.8, 0.9])]


def parts(svg: str, klass: str) -> list[ElementTree.Element]:
    return [item for item in ElementTree.fromstring(svg).iter() if item.get("class") == klass]


def test_a_panel_draws_the_line_its_interval_the_band_and_the_test_score() -> None:
    test = Estimate(mean=0.8, low=0.7, high=0.9, num=3)
    svg = draw_panel(
        Panel("law", CURVE, band=[Span(0, 0.0, 0.2), Span(2, 0.1, 0.3)], online=CURVE, test=test), scripted=False
    )
    for klass, count in (("line", 1), ("ribbon", 1), ("band", 1), ("cross", 1), ("dot", 2), ("ring", 2), ("stamp", 0)):
        assert len(parts(svg, klass)) == count, klass
    assert ElementTree.fromstring(svg).get("aria-label") == "Learning curve, law: from 0.20 at prompt 0 to 0.80 at 2"
    told = [item.get("data-tip") for item in parts(svg, "dot")]
    assert told == ["prompt 0: 0.200 [−0.048, 0.448]", "prompt 2: 0.800 [0.552, 1.048]"]


def test_a_ribbon_and_the_interval_of_the_test_score_end_at_the_limits_of_the_axis() -> None:
    wide = Estimate(mean=0.5, low=-3.0, high=4.0, num=3)
    drawn = [draw_panel(Panel("law", [item] * 2, test=item), scripted=False) for item in (wide, FULL)]
    for klass, attributes in (("ribbon", ["d"]), ("whisker", ["y1", "y2"])):
        ends = [[item.get(name) for item in parts(svg, klass) for name in attributes] for svg in drawn]
        assert ends[0] == ends[1], klass
    assert "[−3.000, 4.000]" in drawn[0]  # a tooltip gives the interval in full


def test_a_scripted_figure_says_so_and_one_without_a_score_too() -> None:
    svg = draw_panel(Panel("law", [None, None]), scripted=True)
    assert parts(svg, "stamp")[0].text == "SCRIPTED"
    assert "SCRIPTED. Learning curve, law: no score yet" in svg
    assert not parts(svg, "line")


def test_a_single_meta_episode_has_dots_and_no_interval() -> None:
    line = [Estimate(mean=0.5, num=1), Estimate(mean=1.0, num=1)]
    svg = draw_panel(Panel("law", line, dots=[[0.0, 1.0], [1.0, 1.0]]), scripted=False)
    assert len(parts(svg, "episode")) == 4
    assert not parts(svg, "ribbon")


def test_a_whisker_is_labelled_with_its_numbers_and_stays_on_the_scale() -> None:
    estimate = Estimate(mean=0.2, low=-0.1, high=0.5, num=5)
    svg = whisker(estimate, domain_of([estimate, None]), noise=estimate)
    assert ElementTree.fromstring(svg).get("aria-label") == "+0.200 [−0.100, +0.500]"
    assert len(parts(svg, "whisker")) == 3
    assert len(parts(svg, "band")) == 1
    assert not parts(whisker(None, (0, 1)), "dot")


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


@pytest.mark.parametrize(
    ("domain", "ticks"),
    [
        ((0.0, 1.0), [0.0, 0.5, 1.0]),
        ((-1.0, 1.0), [-1.0, 0.0, 1.0]),
        ((0.0, 23.0), [0.0, 20.0]),
        ((2.0, 2.0), [2.0, 2.5, 3.0]),
    ],
)
def test_ticks_are_round(domain: tuple[float, float], ticks: list[float]) -> None:
    assert Scale(domain, (0, 100)).ticks(2) == ticks


def test_what_goes_into_a_tag_is_escaped() -> None:
    svg = tag("text", text="<script>\x00", aria_label='"><script>')
    assert svg == '<text aria-label="&quot;&gt;&lt;script&gt;">&lt;script&gt;␀</text>'
