"""The lines and bands of a figure, as data, cut at the ends of the axis. Nothing is drawn here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from metagym.evaluation.controls import ArmKind
from metagym.evaluation.gains import Figures
from metagym.evaluation.report import EvaluationReport
from metagym.evaluation.scale import ScoreScale
from metagym.statistics import Estimate

Curve = Sequence[Estimate | None]
Range = tuple[float, float]
ALL_FAMILIES = "all families"


class Span(NamedTuple):
    """Part of a band: its lower and upper end at one place on the axis."""

    place: int
    low: float
    high: float


class ArmLine(NamedTuple):
    """One arm that is drawn as a line."""

    label: str
    kind: ArmKind
    figures: Figures

    @property
    def curve(self) -> Curve:
        """The raw validation score of each prompt. Best-so-far is not drawn: on fixed tasks it cannot fall."""
        return self.figures.validation


class CurvePanel(NamedTuple):
    """The arms on one family, or on all: the null controls are one band, every other arm is a line."""

    title: str
    lines: tuple[ArmLine, ...]
    band: tuple[Span, ...]
    """From the lowest end of the null controls' intervals to the highest."""
    num_null_controls: int
    score_range: Range


def curve_panel(reports: Sequence[EvaluationReport], labels: Sequence[str], family: str | None) -> CurvePanel:
    """Return the panel of one family, or with None that of all families together.

    An arm that was not evaluated on the family is left out. Null controls alone are lines.
    """
    score_range = ScoreScale.joint(report.scale for report in reports).of_scores
    named = [
        ArmLine(label, report.kind, figures)
        for report, label in zip(reports, labels, strict=True)
        if (figures := report.overall if family is None else report.families.get(family)) is not None
    ]
    is_alone = all(report.kind == "null control" for report in reports)
    nulls = [] if is_alone else [item for item in named if item.kind == "null control"]
    return CurvePanel(
        title=ALL_FAMILIES if family is None else family,
        lines=tuple(item for item in named if item not in nulls),
        band=tuple(control_band([item.curve for item in nulls], score_range)),
        num_null_controls=len(nulls),
        score_range=score_range,
    )


def control_band(curves: Sequence[Curve], score_range: Range) -> list[Span]:
    """Return at each prompt the lowest and the highest end of the curves' intervals, cut at the range of the axis."""
    found = []
    for index in range(max(map(len, curves), default=0)):
        known = [item for curve in curves if index < len(curve) and (item := curve[index]) is not None]
        ends = [end for item in known for end in (item.mean, item.low, item.high) if end is not None]
        if ends:
            found.append(Span(index, *cut(min(ends), max(ends), score_range)))
    return found


def ribbon(curve: Curve, score_range: Range) -> list[Span]:
    """Return the intervals of a curve, cut at the range of the axis. A point without an interval is left out."""
    return [
        Span(index, *cut(item.low, item.high, score_range))
        for index, item in enumerate(curve)
        if item is not None and item.low is not None and item.high is not None
    ]


def pieces(spans: Sequence[Span]) -> list[list[Span]]:
    """Split a band at each prompt without an interval: nothing is drawn across it."""
    found: list[list[Span]] = []
    for span in spans:
        if found and span.place == found[-1][-1].place + 1:
            found[-1].append(span)
        else:
            found.append([span])
    return found


def cut(low: float, high: float, score_range: Range) -> Range:
    """Return the part of an interval that the axis shows. Tables and tooltips give the interval in full.

    >>> cut(0.7, 1.2, (0.0, 1.0))
    (0.7, 1.0)
    """
    least, greatest = score_range
    return max(least, low), min(greatest, high)


def axis_of(scores: Iterable[float | None]) -> Range:
    """Return the range of an axis that holds 0, 1 and all the scores.

    >>> axis_of([0.5, None, 2.0])
    (0.0, 2.0)
    """
    known = [score for score in scores if score is not None]
    return min([0.0, *known]), max([1.0, *known])
