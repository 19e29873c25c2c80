"""The data of a figure: which arms are lines, the band of the null controls, and the cut at the ends of the axis."""

from __future__ import annotations

import pytest

from metagym.evaluation import EvaluationConfig, EvaluationReport
from metagym.evaluation.controls import ArmKind
from metagym.evaluation.output.panels import ALL_FAMILIES, Span, axis_of, control_band, curve_panel, pieces, ribbon
from metagym.evaluation.report import build_report
from metagym.statistics import Estimate

WIDE = Estimate(mean=0.9, low=0.6, high=1.2, num=3)
LOW = Estimate(mean=0.1, low=-0.2, high=0.4, num=3)
ALONE = Estimate(mean=0.5, num=1)
BAND = [Span(0, 0.0, 1.0), Span(1, 0.5, 0.5), Span(2, 0.6, 1.0)]


def report_of(arm: str, kind: ArmKind = "method", *families: str) -> EvaluationReport:
    made = build_report(EvaluationConfig(), [], arm=arm, kind=kind)
    figures = made.overall.model_copy(update={"validation": (LOW, ALONE, WIDE)})
    return made.model_copy(update={"overall": figures, "families": dict.fromkeys(families, figures)})


def test_null_controls_are_one_band_and_every_other_arm_is_a_line() -> None:
    reports = [report_of("mine"), report_of("again", "same again"), report_of("none", "null control")]
    panel = curve_panel(reports, ["a", "b", "c"], None)
    assert (panel.title, panel.num_null_controls) == (ALL_FAMILIES, 1)
    assert [(line.label, line.kind) for line in panel.lines] == [("a", "method"), ("b", "same again")]
    assert [span.place for span in panel.band] == [0, 1, 2]


def test_null_controls_alone_are_lines() -> None:
    panel = curve_panel([report_of("none", "null control")], ["none"], None)
    assert [line.label for line in panel.lines] == ["none"]
    assert panel.band == ()


def test_an_arm_that_was_not_evaluated_on_the_family_is_left_out() -> None:
    reports = [report_of("one", "method", "f"), report_of("other", "method", "g")]
    assert [line.label for line in curve_panel(reports, ["one", "other"], "f").lines] == ["one"]


def test_ribbons_and_bands_are_cut_at_the_ends_of_the_axis() -> None:
    assert ribbon([LOW, None, WIDE], (0.0, 1.0)) == [Span(0, 0.0, 0.4), Span(2, 0.6, 1.0)]
    assert control_band([[LOW, None], [WIDE, ALONE, WIDE]], (0.0, 1.0)) == BAND
    assert ribbon([LOW, WIDE], (-1.0, 2.0)) == [Span(0, -0.2, 0.4), Span(1, 0.6, 1.2)]


def test_a_point_without_an_interval_is_in_no_ribbon() -> None:
    assert ribbon([ALONE], (0.0, 1.0)) == []


@pytest.mark.parametrize(
    ("scores", "expected"), [([], (0.0, 1.0)), ([0.5, None, 2.0], (0.0, 2.0)), ([-3.0], (-3.0, 1.0))]
)
def test_an_axis_holds_zero_one_and_every_score(scores: list[float | None], expected: tuple[float, float]) -> None:
    assert axis_of(scores) == expected


def test_a_band_is_split_where_a_prompt_has_no_interval() -> None:
    spans = [Span(place, 0.0, 1.0) for place in (0, 1, 3)]
    assert pieces(spans) == [spans[:2], spans[2:]]
    assert pieces([]) == []
