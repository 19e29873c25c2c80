"""SVG elements, scales and ticks. All text is escaped; the page's style sheet sets the colours."""

from __future__ import annotations

import math
from html import escape

from metagym.rendering import visible


def tag(name: str, *children: str, text: str = "", **attributes: float | str | None) -> str:
    """Return an SVG element. Underscores in attribute names become hyphens (`klass` is `class`); None leaves one out.

    >>> tag("text", text="a < b", x=1.50, text_anchor="end")
    '<text x="1.5" text-anchor="end">a &lt; b</text>'
    """
    listed = "".join(
        f' {"class" if key == "klass" else key.replace("_", "-")}="{_attribute(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = "".join(children) + escape(visible(text))
    return f"<{name}{listed}>{inner}</{name}>" if inner else f"<{name}{listed}/>"


def _attribute(value: float | str) -> str:
    if isinstance(value, str):
        return escape(visible(value))
    return f"{value:.2f}".rstrip("0").rstrip(".")


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
