"""A confidence sequence: an interval that holds however often the replicates were looked at while they were added."""

from __future__ import annotations

import math

from metagym.statistics.intervals import CONFIDENCE, UNBOUNDED, Bounds, Estimate

EFFECT_VARIANCE = 4.0
"""Variance of the standardised effects that the mixture expects: about the narrowest intervals at 5 to 30 seeds."""


def at_any_look(estimate: Estimate, *, confidence: float = CONFIDENCE, bounds: Bounds = UNBOUNDED) -> Estimate:
    """Return the estimate with the interval and the p that hold at all numbers of replicates at once.

    A fixed interval may be looked at once. If replicates are added until it excludes 0, it is wrong too often. Here the
    likelihood ratio of a mixture of effects to no effect, in units of the unknown deviation, is a martingale: it ever
    reaches 1 / alpha with probability alpha at most (Ville 1939). The interval holds the means that it does not reject.
    Like Student's t, it takes replicates for normal. Its ends stay within `bounds`; with few replicates they are the
    bounds, or None without bounds.

    >>> fixed = Estimate(mean=0.3, low=0.18, high=0.42, p_value=0.0003, std=0.17, num=10)
    >>> found = at_any_look(fixed, bounds=(-1.0, 1.0))
    >>> round(found.low, 3), round(found.high, 3), fixed.p_value < found.p_value < 0.05
    (0.087, 0.513, True)

    Source: Wang & Ramdas 2025, "Anytime-valid t-tests and confidence sequences for Gaussian means with unknown
    variance", arXiv 2310.03722 (Gaussian mixture); after Lai 1976, "On confidence sequences".
    """
    if estimate.low is None or not estimate.std:
        return estimate
    mean, std, num = estimate.mean, estimate.std, estimate.num
    spread, alpha = 1 + num * EFFECT_VARIANCE, 1 - confidence
    squared = num / (num - 1) * (mean / std) ** 2
    evidence = num / 2 * (math.log1p(squared) - math.log1p(squared / spread)) - math.log(spread) / 2
    limit = math.exp((2 * math.log(1 / alpha) + math.log(spread)) / num)
    half = math.inf
    if limit < spread:
        half = std * math.sqrt((num - 1) / num * (limit - 1) / (1 - limit / spread))
    low, high = max(min(bounds[0], mean), mean - half), min(max(bounds[1], mean), mean + half)
    ends = {"low": low, "high": high} if math.isfinite(high - low) else {"low": None, "high": None}
    return estimate.model_copy(update={**ends, "p_value": math.exp(-max(0.0, evidence)), "adjusted_p": None})
