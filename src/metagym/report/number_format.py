"""Numbers as text: one minus sign, one number of digits."""

from __future__ import annotations

from metagym.statistics import Estimate

MINUS = "\N{MINUS SIGN}"


def format_number(value: float | None, digits: int = 2, *, sign: bool = False) -> str:
    """Return the number with a real minus sign; a dash for None.

    >>> format_number(-0.125, 3), format_number(0.5, sign=True), format_number(None)
    ('−0.125', '+0.50', '–')
    """
    if value is None:
        return "–"
    text = format(value, f".{digits}f")
    if float(text) == 0.0:
        return text.removeprefix("-")
    return f"+{text}" if sign and value > 0 else text.replace("-", MINUS)


def format_interval(estimate: Estimate | None, digits: int = 2, *, sign: bool = False) -> str:
    """Return `[low, high]`, or a note that there is no interval."""
    if estimate is None:
        return ""
    if estimate.low is None or estimate.high is None:
        return "no interval"
    return f"[{format_number(estimate.low, digits, sign=sign)}, {format_number(estimate.high, digits, sign=sign)}]"


def format_mean(estimate: Estimate | None, digits: int = 2, *, sign: bool = False) -> str:
    """Return the mean without its interval."""
    return format_number(None if estimate is None else estimate.mean, digits, sign=sign)


def format_p(value: float | None) -> str:
    """Return a p value; a small one as a bound."""
    return "<0.0001" if value is not None and value < 1e-4 else format_number(value, 4)
