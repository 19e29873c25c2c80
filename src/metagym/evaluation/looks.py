"""Several looks at an evaluation whose seeds were added later: the intervals that hold for them, and their words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from numpy.typing import ArrayLike

from metagym.statistics import Estimate, at_any_look, at_any_look_bounded
from metagym.statistics.intervals import ALPHA, Bounds


class AtLooks(NamedTuple):
    """An estimate with the two intervals that hold however often seeds were added."""

    normal: Estimate | None
    """It takes seeds for normal; the words follow it."""
    bounded: Estimate | None
    """It takes scores for bounded, and nothing else."""
    looks: Sequence[int]
    """The numbers of seeds at which there was a result."""

    @property
    def notes(self) -> list[str]:
        """A note with the interval that holds for skewed seeds, if there was more than one look."""
        if len(self.looks) < 2 or self.bounded is None:
            return []
        return [
            "With several looks the verdict takes seeds for normal. By the bounds of the scores alone the 95 % "
            f"interval is [{self.bounded.low:+.3f}, {self.bounded.high:+.3f}]: believe this one if most seeds differ "
            "by about the same and a few by much more."
        ]


def at_looks(
    fixed: Estimate | None, per_seed: ArrayLike, looks: Sequence[int], *, bounds: Bounds, num_arms: int = 1
) -> AtLooks:
    """Return the intervals that hold at all looks; for several arms they are Bonferroni's.

    `fixed` is the mean of `per_seed` with the interval for one look.
    """
    confidence = 1 - ALPHA / num_arms

    def adjusted(item: Estimate | None) -> Estimate | None:
        if item is None or item.p_value is None or num_arms == 1:
            return item
        return item.model_copy(update={"adjusted_p": min(1.0, num_arms * item.p_value)})

    normal = None if fixed is None else at_any_look(fixed, confidence=confidence, bounds=bounds)
    return AtLooks(
        adjusted(normal), adjusted(at_any_look_bounded(per_seed, confidence=confidence, bounds=bounds)), looks
    )


def looks_in_words(looks: Sequence[int]) -> str:
    """Return at which numbers of seeds there was a result, if there was more than one; else nothing.

    >>> looks_in_words((5, 10))
    ' (looked at after 5, 10 seeds: the interval holds for any number of looks)'
    """
    if len(looks) < 2:
        return ""
    seeds = ", ".join(map(str, looks))
    return f" (looked at after {seeds} seeds: the interval holds for any number of looks)"
