"""Power of the paired t test: how many seeds an effect needs, and which effect a number of seeds detects."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from metagym.errors import ConfigError
from metagym.statistics.student_t import t_quantile


def seeds_needed(effect: float, sd: float, *, alpha: float = 0.05, power: float = 0.8) -> int:
    """Return how many seeds a paired comparison needs to find `effect`, where the differences have `sd`.

    Two-sided paired t test over the seeds' differences, exact power (noncentral t). The seed is the
    replicate: episodes within a seed are not independent.
    Source: Cohen 1988, Statistical Power Analysis, sec. 2.3.

    >>> seeds_needed(0.05, 0.1), seeds_needed(0.1, 0.1)
    (34, 10)

    Raises:
        ConfigError: a number is out of its range.
    """
    if not (effect > 0 and sd > 0 and 0 < alpha < 1 and 0 < power < 1):
        raise ConfigError(f"Expected effect, sd > 0 and 0 < alpha, power < 1, got {effect}, {sd}, {alpha}, {power}.")
    low, high = 1, 2
    while _power(high, effect / sd, alpha) < power:
        low, high = high, high * 2
        if high > 2**20:
            raise ConfigError(f"An effect of {effect:g} at sd {sd:g} needs more than a million seeds: too small.")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _power(middle, effect / sd, alpha) >= power else (middle, high)
    return high


def detectable_effect(std: float, num: int, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the mean difference that a paired t test of `num` replicates finds with the given power.

    It follows from the variance alone. "Observed power", from the observed effect, only restates the p value.
    The quantiles of the central t stand in for the noncentral ones: within 5 % from five replicates on.

    Source: Lenth 2001, "Some practical guidelines for effective sample size determination"; Hoenig & Heisey 2001.
    """
    if num < 2:
        return math.inf
    return (t_quantile(1 - alpha / 2, num - 1) + t_quantile(power, num - 1)) * std / math.sqrt(num)


def _power(num_seeds: int, effect: float, alpha: float) -> float:
    """Return the power of the two-sided paired t test, by integrating over the estimated deviation."""
    nu, shift = num_seeds - 1, effect * math.sqrt(num_seeds)
    scale = np.linspace(1e-6, 1 + 12 / math.sqrt(2 * nu), 800)  # estimated over true deviation
    log_density = (nu - 1) * np.log(scale) - nu * scale**2 / 2
    weights = np.exp(log_density - log_density.max())
    weights /= weights.sum()

    def cdf(t: float, mean: float) -> float:
        return float(weights @ _normal_cdf(t * scale - mean))

    low, high = 0.0, 1e4  # the critical value lies between
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if cdf(middle, 0.0) < 1 - alpha / 2 else (low, middle)
    return 1 - cdf(high, shift) + cdf(-high, shift)


def _normal_cdf(z: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in z])
