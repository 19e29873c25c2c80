"""Choose and draw the learning curves of a group of runs, in SVG: the first run's intervals, controls as a band."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from metagym.evaluation.output.panels import Curve, Range, Span, axis_of, curve_panel, cut, pieces, ribbon
from metagym.report.number_format import format_interval, format_mean, format_number
from metagym.report.run_reading import Run
from metagym.report.svg import Scale, figure, path, tag
from metagym.statistics import Estimate
from metagym.types import MetaStep

MAX_PANELS = 24
WIDTH, WIDE, HEIGHT = 238, 600, 164
LEFT, RIGHT, TOP, BOTTOM, INSET = 26, 6, 18, 22, 10


@dataclass(frozen=True)
class Panel:
    """One of the small multiples: one family, or all families."""

    title: str
    line: Curve
    """The scores of the run, with their intervals if there are any."""
    score_range: Range = (0.0, 1.0)
    band: Sequence[Span] = ()
    """The lowest and the highest end of the null controls' intervals at each prompt."""
    again: Curve = ()
    """The A/A run."""
    others: Sequence[tuple[str, Curve]] = ()
    """Other arms by name."""
    online: Curve = ()
    dots: Sequence[Sequence[float]] = ()
    """The scores of the episodes of each meta-step."""
    test: Estimate | None = None
    """Test score of the chosen prompt."""
    axis: str = "prompt"


def panels_of(group: Sequence[Run]) -> tuple[list[Panel], int]:
    """Return the panels, and the number of families without one: all families together first, then each family."""
    run = group[0]
    if run.report is not None:
        families = list(run.report.families)
        if len(families) == 1:
            return [_evaluation_panel(group, families[0], None)], 0
        named = [("All families", None), *((family, family) for family in families)]
        shown = [_evaluation_panel(group, title, family) for title, family in named[:MAX_PANELS]]
        return shown, len(named) - len(shown)
    if run.stream is not None:
        score_range = run.stream.scale.of_scores
        return [Panel("online score along the stream", run.stream.online, score_range, axis="meta-step")], 0
    panels = _meta_episode_panels(run.history) if run.history else []
    return panels[:MAX_PANELS], max(0, len(panels) - MAX_PANELS)


def _evaluation_panel(group: Sequence[Run], title: str, family: str | None) -> Panel:
    evaluated = [(item.report, item.name) for item in group if item.report is not None]
    data = curve_panel([report for report, _ in evaluated], [name for _, name in evaluated], family)
    main, *others = data.lines
    return Panel(
        title=title,
        line=main.curve,
        score_range=data.score_range,
        band=data.band,
        again=next((item.curve for item in others if item.kind == "same again"), ()),
        others=[(item.label, item.curve) for item in others if item.kind not in ("same again", "null control")],
        online=main.figures.online,
        test=main.figures.test_chosen,
    )


def _meta_episode_panels(history: Sequence[MetaStep]) -> list[Panel]:
    families = list(dict.fromkeys(item.task.family for meta_step in history for item in meta_step.trajectories))
    score_range = axis_of(item.score for meta_step in history for item in meta_step.trajectories)

    def panel(title: str, shown: Sequence[str]) -> Panel:
        batches = [
            [item.score for item in step.trajectories if item.score is not None and item.task.family in shown]
            for step in history
        ]
        # One meta-episode is one replicate, so that there is no interval.
        line = [Estimate(mean=sum(batch) / len(batch), num=1) if batch else None for batch in batches]
        return Panel(title, line, score_range, dots=batches, axis="meta-step")

    if len(families) == 1:
        return [panel(families[0], families)]
    return [panel("All families", families), *(panel(name, [name]) for name in families)]


def draw_panel(panel: Panel, *, scripted: bool, is_alone: bool = False) -> str:
    """Return the panel as an SVG; a panel that is the only one is wider."""
    width = WIDE if is_alone else WIDTH
    last = max(len(panel.line), len(panel.online), len(panel.dots), 2) - 1
    room = last + (0.9 if panel.test is not None else 0.0)
    x, y = Scale((0, room), (LEFT + INSET, width - RIGHT - INSET)), Scale(panel.score_range, (HEIGHT - BOTTOM, TOP))
    parts = [
        _axes(x, y, last, width),
        _area(panel.band, x, y, "band"),
        *(_line(curve, x, y, "other", tip=name) for name, curve in panel.others),
        _line(panel.again, x, y, "again"),
        _area(ribbon(panel.line, panel.score_range), x, y, "ribbon"),
        _dots(panel.dots, x, y),
        _line(panel.line, x, y, "line"),
        *(_point(i, item, x, y, f"{panel.axis} {i}", "dot") for i, item in enumerate(panel.line) if item),
        *(_point(i, item, x, y, f"online, meta-step {i}", "ring") for i, item in enumerate(panel.online) if item),
    ]
    if panel.test is not None:
        parts.append(_test(panel.test, x(last + 0.6), y, panel.score_range))
    if scripted:
        parts.append(tag("text", text="SCRIPTED", x=width - RIGHT, y=9, klass="stamp"))
    known = [(index, item.mean) for index, item in enumerate(panel.line) if item is not None]
    course = "no score yet"
    if known:
        (first, start), (end_at, end) = known[0], known[-1]
        course = f"from {format_number(start)} at {panel.axis} {first} to {format_number(end)} at {end_at}"
    label = f"{'SCRIPTED. ' if scripted else ''}Learning curve, {panel.title}: {course}"
    return figure(parts, width, HEIGHT, label=label, klass="chart alone" if is_alone else "chart")


def _axes(x: Scale, y: Scale, last: int, width: float) -> str:
    parts = []
    for tick in y.ticks(2):
        parts.append(tag("line", x1=LEFT, x2=width - RIGHT, y1=y(tick), y2=y(tick), klass="grid"))
        parts.append(tag("text", text=f"{tick:g}", x=LEFT - 5, y=y(tick) + 3.5, klass="tick end"))
    steps = (factor * 10**power for power in itertools.count() for factor in (1, 2, 5))
    step = next(step for step in steps if last / step <= 10)
    parts += [
        tag("text", text=str(index), x=x(index), y=HEIGHT - 8, klass="tick mid") for index in range(0, last + 1, step)
    ]
    return "".join(parts)


def _line(curve: Curve, x: Scale, y: Scale, klass: str, tip: str | None = None) -> str:
    points = [(x(index), y(item.mean)) for index, item in enumerate(curve) if item is not None]
    return tag("path", d=path(points), klass=klass, data_tip=tip) if len(points) > 1 else ""


def _area(spans: Sequence[Span], x: Scale, y: Scale, klass: str) -> str:
    areas = []
    for stretch in pieces(spans):
        places = [x(span.place) for span in stretch]
        if len(stretch) == 1:  # an area needs a width
            places, stretch = [places[0] - 2, places[0] + 2], stretch * 2
        upper = [(place, y(span.high)) for place, span in zip(places, stretch, strict=True)]
        lower = [(place, y(span.low)) for place, span in zip(places, stretch, strict=True)]
        areas.append(path([*upper, *reversed(lower)]) + "Z")
    return tag("path", d="".join(areas), klass=klass) if areas else ""


def _dots(batches: Sequence[Sequence[float]], x: Scale, y: Scale) -> str:
    """Draw each episode as a small mark; equal scores are side by side."""
    parts = []
    for index, scores in enumerate(batches):
        for score in sorted(set(scores)):
            count = scores.count(score)
            for place in range(count):
                offset = (place - (count - 1) / 2) * min(3.6, 14 / count)
                parts.append(tag("circle", cx=x(index) + offset, cy=y(score), r=1.6, klass="episode"))
    return "".join(parts)


def _point(index: int, item: Estimate, x: Scale, y: Scale, name: str, klass: str) -> str:
    tip = f"{name}: {format_mean(item, 3)} {format_interval(item, 3)}"
    return tag("circle", cx=x(index), cy=y(item.mean), r=2.6, klass=klass, data_tip=tip)


def _test(test: Estimate, at: float, y: Scale, score_range: Range) -> str:
    interval, middle = "", y(test.mean)
    if test.low is not None and test.high is not None:
        low, high = cut(test.low, test.high, score_range)
        interval = tag("line", x1=at, x2=at, y1=y(low), y2=y(high), klass="whisker")
    tip = f"test score of the chosen prompt: {format_mean(test, 3)} {format_interval(test, 3)}"
    cross = f"M{at - 4:.1f} {middle - 4:.1f}l8 8m0 -8l-8 8"
    return interval + tag("path", d=cross, klass="cross", data_tip=tip)
