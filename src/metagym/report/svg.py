"""SVG elements, scales, and intervals as whiskers. All text is escaped; the page's style sheet sets the colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from metagym.evaluation.output.panels import Range
from metagym.rendering import visible
from metagym.report.number_format import format_interval, format_mean
from metagym.statistics import Estimate


def tag(name: str, *children: str, text: str = "", **attributes: float | str | None) -> str:
    """Return an SVG element. Underscores in attribute names become hyphens (`klass` is `class`); None is left out."""
    listed = "".join(
        f' {"class" if key == "klass" else key.replace("_", "-")}="{_attribute(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = "".join(children) + escape(visible(text))
    return f"<{name}{listed}>{inner}</{name}>" if inner else f"<{name}{listed}/>"


def _attribute(value: float | str) -> str:
    return escape(visible(value)) if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")


class Scale:
    """Maps numbers from `domain` to places on the page, from the first of `extent` to the second."""

    def __init__(self, domain: tuple[float, float], extent: tuple[float, float]) -> None:
        low, high = domain
        self.domain = (low, high if high > low else low + 1.0)
        self.extent = extent

    def __call__(self, value: float) -> float:  # noqa: D102 - see the class
        low, high = self.domain
        start, end = self.extent
        return start + (value - low) / (high - low) * (end - start)

    def ticks(self, count: int = 3) -> list[float]:
        """Return round numbers within the domain, about `count` of them."""
        low, high = self.domain
        rough = (high - low) / max(1, count)
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
        first = math.ceil(low / step - 1e-9)
        return [round(index * step, 10) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def path(points: list[tuple[float, float]]) -> str:
    """Return the `d` attribute of a line through the points."""
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def figure(parts: Sequence[str], width: float, height: float, *, label: str, klass: str, is_fixed: bool = False) -> str:
    """Return a whole SVG with a label for screen readers; one that `is_fixed` does not grow with its place."""
    size = (width, height) if is_fixed else (None, None)
    box = f"0 0 {width} {height}"
    return tag("svg", *parts, viewBox=box, width=size[0], height=size[1], role="img", aria_label=label, klass=klass)


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
    return figure(parts, width, height, label=label, klass="whiskers")


def domain_of(estimates: Sequence[Estimate | None]) -> Range:
    """Return a range that holds 0 and all the intervals."""
    known = [item for item in estimates if item is not None]
    ends = [end for item in known for end in (item.mean, item.low, item.high) if end is not None]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    margin = 0.04 * (high - low) or 0.1
    return low - margin, high + margin
