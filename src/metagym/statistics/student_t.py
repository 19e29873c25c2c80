"""Student's t without scipy, the largest package of an install: distribution, quantile, power of the paired t test.

Tested against scipy to ten digits. Source: Press et al., Numerical Recipes, 3rd ed., sec. 6.4 (the incomplete
beta function by its continued fraction, after Lentz).
"""

from __future__ import annotations

import bisect
import itertools
import math
from functools import lru_cache

import numpy as np

from metagym.errors import ConfigError


def t_cdf(t: float, df: float) -> float:
    """Return P(T <= t) for Student's t with `df` degrees of freedom.

    >>> round(t_cdf(2.0, 10), 6)
    0.963306
    """
    tail = two_sided_p(t, df) / 2
    return tail if t < 0 else 1 - tail


def two_sided_p(t: float, df: float) -> float:
    """Return `P(abs(T) >= abs(t))`, with full precision in the tail.

    >>> round(two_sided_p(2.0, 10), 6)
    0.073388
    """
    return 0.0 if math.isinf(t) else _incomplete_beta(df / 2, 0.5, df / (df + t * t))


@lru_cache(maxsize=1024)
def t_quantile(probability: float, df: float) -> float:
    """Return the t with P(T <= t) = `probability`.

    >>> round(t_quantile(0.975, 9), 6)
    2.262157
    """
    if not 0 < probability < 1:
        raise ValueError(f"probability must be between 0 and 1, got {probability}.")
    if probability < 0.5:
        return -t_quantile(1 - probability, df)
    low, high = 0.0, 1.0
    while t_cdf(high, df) < probability:
        low, high = high, 2 * high
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if t_cdf(middle, df) < probability else (low, middle)
    return (low + high) / 2


def seeds_needed(effect: float, sd: float, *, alpha: float = 0.05, power: float = 0.8) -> int:
    """Return the number of seeds that a paired comparison needs to find `effect`, if the differences have `sd`.

    Two-sided paired t test over the differences of the seeds, exact power. The seed is the replicate: episodes
    within a seed are not independent.
    Source: Cohen 1988, Statistical Power Analysis, sec. 2.3.

    >>> seeds_needed(0.05, 0.1), seeds_needed(0.1, 0.1)
    (34, 10)
    """
    if not (0 < effect < math.inf and 0 < sd < math.inf and 0 < alpha < 1 and 0 < power < 1):
        got = f"{effect}, {sd}, {alpha}, {power}"
        raise ConfigError(f"Expected finite effect, sd > 0 and 0 < alpha, power < 1, got {got}.")
    nums = range(2, 2**20 + 1)
    index = bisect.bisect_left(nums, power, key=lambda num: paired_power(num, effect / sd, alpha=alpha))
    if index == len(nums):
        raise ConfigError(f"An effect of {effect:g} at sd {sd:g} needs more than a million seeds: too small.")
    return nums[index]


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


def _incomplete_beta(a: float, b: float, x: float) -> float:
    if x <= 0 or x >= 1:
        return float(x >= 1)
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    front = math.exp(a * math.log(x) + b * math.log1p(-x) - log_beta)
    # The fraction converges quickly only on this side of the mean.
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(a, b, x) / a
    return 1 - front * _fraction(b, a, 1 - x) / b


def _fraction(a: float, b: float, x: float) -> float:
    tiny = 1e-300
    c, d = 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > tiny else tiny)
    value = d
    for m in range(1, 10_000):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 + numerator * d
            c = 1 + numerator / c
            d = 1 / (d if abs(d) > tiny else tiny)
            c = c if abs(c) > tiny else tiny
            factor = c * d
            value *= factor
        if abs(factor - 1) < 1e-15:
            break
    return value


@lru_cache(maxsize=256)
def _standard_effect(num: int, alpha: float, power: float) -> float:
    low, high = 0.0, 1.0
    while paired_power(num, high, alpha=alpha) < power:
        high *= 2
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if paired_power(num, middle, alpha=alpha) < power else (low, middle)
    return high


@lru_cache(maxsize=1)
def _nodes() -> tuple[tuple[float, ...], tuple[float, ...]]:
    # Gauss-Legendre, on the interval from 0 to 1.
    nodes, weights = np.polynomial.legendre.leggauss(64)
    return tuple(((nodes + 1) / 2).tolist()), tuple((weights / 2).tolist())


def _normal_cdf(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))
