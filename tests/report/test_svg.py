"""SVG elements, scales and whiskers."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from metagym.report.svg import Scale, domain_of, tag, whisker
from metagym.statistics import Estimate
from tests.report.conftest import parts


def test_a_whisker_is_labelled_with_its_numbers_and_stays_on_the_scale() -> None:
    estimate = Estimate(mean=0.2, low=-0.1, high=0.5, num=5)
    svg = whisker(estimate, domain_of([estimate, None]), noise=estimate)
    assert ElementTree.fromstring(svg).get("aria-label") == "+0.200 [−0.100, +0.500]"
    assert len(parts(svg, "whisker")) == 3
    assert len(parts(svg, "band")) == 1
    assert not parts(whisker(None, (0, 1)), "dot")


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
