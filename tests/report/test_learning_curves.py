"""Learning curves as SVG."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

from metagym.evaluation.output.panels import Span
from metagym.report.learning_curves import Panel, draw_panel
from metagym.statistics import Estimate, mean_interval
from tests.report.conftest import parts

FULL = Estimate(mean=0.5, low=0.0, high=1.0, num=3)
CURVE = [mean_interval([0.1, 0.2, 0.3]), None, mean_interval([0.7, 0.8, 0.9])]


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


def test_ribbons_and_bands_break_at_a_prompt_without_an_interval() -> None:
    curve, band = [FULL, FULL, None, FULL], [Span(place, 0.0, 1.0) for place in (0, 1, 3)]
    svg = draw_panel(Panel("law", curve, band=band), scripted=False)
    for klass in ("ribbon", "band"):
        (area,) = parts(svg, klass)
        stretches = area.attrib["d"].split("Z")[:-1]
        places = [sorted({float(place) for place in re.findall(r"[ML]([\d.]+) ", stretch)}) for stretch in stretches]
        (first, second), (left, right) = places
        step = second - first
        assert (left, right) == pytest.approx((first + 3 * step - 2, first + 3 * step + 2), abs=0.1)


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
