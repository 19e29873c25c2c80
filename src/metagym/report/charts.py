"""Draw learning curves as small multiples, and intervals as whiskers, in SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from metagym.evaluation.output.panels import Curve, Range, Span, cut, ribbon
from metagym.report.number_format import format_interval, format_mean, format_number
from metagym.report.svg import Scale, path, tag
from metagym.statistics import Estimate

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


def draw_panel(panel: Panel, *, scripted: bool, is_alone: bool = False) -> str:
    """Return the panel as an SVG; a panel that is the only one is wider."""
    width = WIDE if is_alone else WIDTH
    last = max(len(panel.line), len(panel.online), len(panel.dots), 2) - 1
    room = last + (0.9 if panel.test is not None else 0.0)
    x, y = Scale((0, room), (LEFT + INSET, width - RIGHT - INSET)), Scale(panel.score_range, (HEIGHT - BOTTOM, TOP))
    parts = [_axes(x, y, last, width), _area(panel.band, x, y, "band")]
    parts += [_line(curve, x, y, "other", tip=name) for name, curve in panel.others]
    parts.append(_line(panel.again, x, y, "again"))
    parts.append(_area(ribbon(panel.line, panel.score_range), x, y, "ribbon"))
    parts.append(_dots(panel.dots, x, y))
    parts.append(_line(panel.line, x, y, "line"))
    parts += [_point(i, item, x, y, f"{panel.axis} {i}", "dot") for i, item in enumerate(panel.line) if item]
    parts += [_point(i, item, x, y, f"online, meta-step {i}", "ring") for i, item in enumerate(panel.online) if item]
    if panel.test is not None:
        parts.append(_test(panel.test, x(last + 0.6), y, panel.score_range))
    if scripted:
        parts.append(tag("text", text="SCRIPTED", x=width - RIGHT, y=9, klass="stamp"))
    return tag(
        "svg",
        *parts,
        viewBox=f"0 0 {width} {HEIGHT}",
        role="img",
        aria_label=_description(panel, scripted),
        klass="chart alone" if is_alone else "chart",
    )


def whisker(estimate: Estimate | None, domain: Range, *, noise: Estimate | None = None) -> str:
    """Return an interval on a common scale with a line at zero, as a small SVG; `noise` is a band behind it."""
    width, height = 132, 22
    x, middle = Scale(domain, (6, width - 6)), height / 2
    parts = []
    if noise is not None and noise.low is not None and noise.high is not None:
        left, right = x(noise.low), x(noise.high)
        parts.append(tag("rect", x=left - 1, y=2, width=right - left + 2, height=height - 4, klass="band"))
    parts.append(tag("line", x1=x(0), x2=x(0), y1=1, y2=height - 1, klass="zero"))
    if estimate is not None:
        if estimate.low is not None and estimate.high is not None:
            low, high = x(estimate.low), x(estimate.high)
            parts.append(tag("line", x1=low, x2=high, y1=middle, y2=middle, klass="whisker"))
            parts += [tag("line", x1=end, x2=end, y1=middle - 4, y2=middle + 4, klass="whisker") for end in (low, high)]
        parts.append(tag("circle", cx=x(estimate.mean), cy=middle, r=3.5, klass="dot"))
    label = f"{format_mean(estimate, 3, sign=True)} {format_interval(estimate, 3, sign=True)}"
    return tag("svg", *parts, viewBox=f"0 0 {width} {height}", role="img", aria_label=label, klass="whiskers")


def domain_of(estimates: Sequence[Estimate | None]) -> Range:
    """Return a range that holds 0 and all the intervals."""
    known = [item for item in estimates if item is not None]
    ends = [end for item in known for end in (item.mean, item.low, item.high) if end is not None]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    margin = 0.04 * (high - low) or 0.1
    return low - margin, high + margin


def _axes(x: Scale, y: Scale, last: int, width: float) -> str:
    parts = []
    for tick in y.ticks(2):
        parts.append(tag("line", x1=LEFT, x2=width - RIGHT, y1=y(tick), y2=y(tick), klass="grid"))
        parts.append(tag("text", text=f"{tick:g}", x=LEFT - 5, y=y(tick) + 3.5, klass="tick end"))
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 1000) if last / step <= 10)
    parts += [
        tag("text", text=str(index), x=x(index), y=HEIGHT - 8, klass="tick mid") for index in range(0, last + 1, step)
    ]
    return "".join(parts)


def _line(curve: Curve, x: Scale, y: Scale, klass: str, tip: str | None = None) -> str:
    points = [(x(index), y(item.mean)) for index, item in enumerate(curve) if item is not None]
    return tag("path", d=path(points), klass=klass, data_tip=tip) if len(points) > 1 else ""


def _area(spans: Sequence[Span], x: Scale, y: Scale, klass: str) -> str:
    if len(spans) < 2:
        return ""
    upper = [(x(span.place), y(span.high)) for span in spans]
    lower = [(x(span.place), y(span.low)) for span in reversed(spans)]
    return tag("path", d=path([*upper, *lower]) + "Z", klass=klass)


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
    parts = []
    if test.low is not None and test.high is not None:
        low, high = cut(test.low, test.high, score_range)
        parts.append(tag("line", x1=at, x2=at, y1=y(low), y2=y(high), klass="whisker"))
    middle = y(test.mean)
    tip = f"test score of the chosen prompt: {format_mean(test, 3)} {format_interval(test, 3)}"
    cross = f"M{at - 4:.1f} {middle - 4:.1f}l8 8m0 -8l-8 8"
    return "".join([*parts, tag("path", d=cross, klass="cross", data_tip=tip)])


def _description(panel: Panel, scripted: bool) -> str:
    known = [(index, item.mean) for index, item in enumerate(panel.line) if item is not None]
    course = "no score yet"
    if known:
        (first, start), (last, end) = known[0], known[-1]
        course = f"from {format_number(start)} at {panel.axis} {first} to {format_number(end)} at {last}"
    return f"{'SCRIPTED. ' if scripted else ''}Learning curve, {panel.title}: {course}"
