"""Power of the paired t test: the seeds that an effect needs, and the effect that a number of seeds detects."""

from __future__ import annotations

import itertools
import math
from functools import lru_cache

import numpy as np

from metagym.errors import ConfigError
from metagym.statistics.student_t import t_quantile


def seeds_needed(effect: float, sd: float, *, alpha: float = 0.05, power: float = 0.8) -> int:
    """Return the number of seeds that a paired comparison needs to find `effect`, if the differences have `sd`.

    Two-sided paired t test over the differences of the seeds, exact power. The seed is the replicate: episodes
    within a seed are not independent.
    Source: Cohen 1988, Statistical Power Analysis, sec. 2.3.

    >>> seeds_needed(0.05, 0.1), seeds_needed(0.1, 0.1)
    (34, 10)

    Raises:
        ConfigError: a number is out of its range.
    """
    if not (effect > 0 and sd > 0 and 0 < alpha < 1 and 0 < power < 1):
        raise ConfigError(f"Expected effect, sd > 0 and 0 < alpha, power < 1, got {effect}, {sd}, {alpha}, {power}.")
    low, high = 1, 2
    while paired_power(high, effect / sd, alpha=alpha) < power:
        low, high = high, high * 2
        if high > 2**20:
            raise ConfigError(f"An effect of {effect:g} at sd {sd:g} needs more than a million seeds: too small.")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if paired_power(middle, effect / sd, alpha=alpha) >= power else (middle, high)
    return high


def detectable_effect(std: float, num: int, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the mean difference that a paired t test of `num` replicates finds with the given power.

    It follows from the variance alone. "Observed power", from the observed effect, only restates the p value.
    It is the inverse of `seeds_needed`: infinite below two replicates, and 0 for a power of `alpha` or less.

    >>> round(detectable_effect(0.1, 34), 3)
    0.05

    Source: Lenth 2001, "Some practical guidelines for effective sample size determination"; Hoenig & Heisey 2001.
    """
    return math.inf if num < 2 else std * _standard_effect(num, alpha, power)


def paired_power(num: int, effect: float, *, alpha: float = 0.05) -> float:
    """Return the power of the two-sided paired t test of `num` replicates.

    `effect` is in standard deviations of the differences. The noncentral t distribution is integrated over the
    estimated deviation; it agrees with scipy to nine digits.

    >>> round(paired_power(10, 1.0), 3)
    0.803
    """
    df, shift = num - 1, effect * math.sqrt(num)
    edge = t_quantile(1 - alpha / 2, df)
    # `scale` is the estimated over the true deviation. The t statistic exceeds the edge if z > edge * scale - shift.
    spread = 12 / math.sqrt(2 * df)
    start, end, step, width = max(0.0, 1 - spread), 1 + spread, shift / edge, 9 / edge
    # The normal tail is a step of that width: each side of it is smooth, too.
    cuts = [start, *(min(max(cut, start), end) for cut in (step - width, step + width)), end]
    log_norm = math.log(2) + df / 2 * math.log(df / 2) - math.lgamma(df / 2)
    total = 0.0
    for low, high in itertools.pairwise(cuts):
        for node, weight in zip(*_nodes(), strict=True):
            scale = low + (high - low) * node
            if scale > 0:
                density = math.exp(log_norm + (df - 1) * math.log(scale) - df * scale**2 / 2)
                tails = _normal_cdf(shift - edge * scale) + _normal_cdf(-shift - edge * scale)
                total += (high - low) * weight * density * tails
    return min(1.0, total)


@lru_cache(maxsize=256)
def _standard_effect(num: int, alpha: float, power: float) -> float:
    """Return the effect, in standard deviations, that is found with this power."""
    low, high = 0.0, 1.0
    while paired_power(num, high, alpha=alpha) < power:
        high *= 2
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if paired_power(num, middle, alpha=alpha) < power else (low, middle)
    return high


@lru_cache(maxsize=1)
def _nodes() -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the Gauss-Legendre nodes and weights on the interval from 0 to 1."""
    nodes, weights = np.polynomial.legendre.leggauss(64)
    return tuple(((nodes + 1) / 2).tolist()), tuple((weights / 2).tolist())


def _normal_cdf(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))
