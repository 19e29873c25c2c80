"""Confidence sequences: intervals that hold however often the replicates were looked at while they were added.

`at_any_look` takes replicates for normal. `at_any_look_bounded` takes them for nothing but bounded, and is wider.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from metagym.statistics.intervals import CONFIDENCE, UNBOUNDED, Bounds, Estimate, finite_sample

EFFECT_VARIANCE = 4.0
"""Variance of the standardised effects that the mixture expects: about the narrowest intervals at 5 to 30 seeds."""
NUM_STAKES = 64
STAKES = 1 - (1 - (np.arange(NUM_STAKES) + 0.5) / NUM_STAKES) ** 4
"""Shares of the capital that the bets of `at_any_look_bounded` stake: most are high, which pays at 5 to 30 seeds."""


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


def at_any_look_bounded(values: ArrayLike, *, bounds: Bounds, confidence: float = CONFIDENCE) -> Estimate | None:
    """Return the mean of replicates within `bounds`, with an interval and a p that hold at all numbers of replicates.

    It holds for any law within the bounds, the most skewed one too. For each mean, one gambler bets that the truth is
    above it, another that it is below: each replicate multiplies the capital. If the mean is the truth, a capital is a
    martingale, and ever reaches 2 / alpha with probability alpha / 2 at most (Ville 1939). The interval holds the means
    at which neither capital reaches it. A capital is the average over fixed stakes, so the order does not matter. None
    below two replicates; NaN are left out.

    >>> found = at_any_look_bounded([0.4, 0.6, 0.5, 0.3, 0.7, 0.5] * 2, bounds=(-1.0, 1.0))
    >>> round(found.low, 2), found.p_value < 0.05
    (0.06, True)

    Source: Waudby-Smith & Ramdas 2024, "Estimating means of bounded random variables by betting", JRSS B 86(1)
    (hedged capital); fixed stakes, averaged: Cover 1991, "Universal portfolios".
    """
    sample = finite_sample(values)
    if len(sample) < 2:
        return None
    least, width = bounds[0], bounds[1] - bounds[0]
    shares = np.clip((sample - least) / width, 0.0, 1.0)
    limit = math.log(2 / (1 - confidence))
    zero = -least / width
    evidence = max(_log_capital(shares, zero), _log_capital(1 - shares, 1 - zero))
    return Estimate(
        mean=float(sample.mean()),
        low=least + width * _least_mean(shares, limit),
        high=least + width * (1 - _least_mean(1 - shares, limit)),
        p_value=min(1.0, 2 * math.exp(-evidence)),
        std=float(sample.std(ddof=1)),
        num=len(sample),
    )


def _log_capital(shares: NDArray[np.float64], mean: float) -> float:
    """Return the logarithm of the capital that grows out of 1 by bets that the mean of `shares` is above `mean`."""
    if mean <= 0:
        return math.inf
    if mean >= 1:
        return -math.inf
    logs = np.log1p(STAKES[:, None] * (shares[None, :] / mean - 1)).sum(axis=1)
    return float(np.logaddexp.reduce(logs)) - math.log(NUM_STAKES)


def _least_mean(shares: NDArray[np.float64], limit: float) -> float:
    """Return the mean at which the capital is at the limit: it falls as the mean rises."""
    low, high = 0.0, float(shares.mean())
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if _log_capital(shares, middle) >= limit else (low, middle)
    return low
