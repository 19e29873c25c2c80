"""The scale of scores: their bounds, and how much one episode can change a mean. No scores are kept here."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metagym.evaluation.config import EvaluationConfig
from metagym.statistics.intervals import Bounds


class ScoreScale(NamedTuple):
    """The least and the greatest score.

    >>> ScoreScale(0.0, 1.0).resolution(np.zeros((3, 20)), np.zeros((3, 20)))
    0.025
    """

    least: float
    greatest: float

    @property
    def width(self) -> float:
        """The largest difference of two scores."""
        return self.greatest - self.least

    @property
    def of_scores(self) -> Bounds:
        """The bounds of a mean score."""
        return (self.least, self.greatest)

    @property
    def of_differences(self) -> Bounds:
        """The bounds of the difference of two mean scores."""
        return (-self.width, self.width)

    @classmethod
    def joint(cls, scales: Iterable[ScoreScale]) -> ScoreScale:
        """Return the scale that holds all of the scales.

        >>> ScoreScale.joint([ScoreScale(0.0, 1.0), ScoreScale(-2.0, 0.5)])
        ScoreScale(least=-2.0, greatest=1.0)
        """
        least, greatest = zip(*scales, strict=True)
        return cls(min(least), max(greatest))

    def extended(self, scores: Iterable[float]) -> ScoreScale:
        """Return the scale up to any known score outside it."""
        known = [score for score in scores if math.isfinite(score)]
        return ScoreScale(min([self.least, *known]), max([self.greatest, *known]))

    def resolution(self, *tables: NDArray[np.float64]) -> float:
        """Return the change of one seed's mean over families if one episode ends at the other end of the scale.

        A table of shape `[num_seeds, num_episodes]` for each family; that with the fewest episodes decides.
        """
        return self.of_one_in(len(tables) * min(max(1, table.shape[-1]) for table in tables))

    def of_one_in(self, num_episodes: int) -> float:
        """Return the change of a mean over that number of episodes if one of them changes from end to end."""
        return self.width / max(1, num_episodes)


ZERO_TO_ONE: Final = ScoreScale(0.0, 1.0)


def scale_of(config: EvaluationConfig, scores: Iterable[float]) -> ScoreScale:
    """Return the score range of the protocol, extended to any score outside it."""
    return ScoreScale(*config.score_range).extended(scores)
