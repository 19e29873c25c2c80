"""Intervals and paired comparisons over replicates. Each method names its source; none knows of runs.

The replicate is the meta-episode (seed): every function takes one number per seed, except the two-way bootstrap.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from metagym.errors import ConfigError
from metagym.statistics.student_t import t_cdf, t_quantile, two_sided_p
from metagym.types import Record

CONFIDENCE = 0.95
MIN_SEEDS_FOR_SIGN_FLIP = 6
"""With fewer seeds the smallest two-sided p of an exact sign-flip test, 2 / 2^n, is above 0.05."""
MAX_EXACT = 20
"""Up to this number of differences, all 2^n sign patterns are counted."""


class Estimate(Record):
    """A mean over replicates with its interval. Without an interval (one replicate) the ends are None."""

    mean: float
    low: float | None = None
    """Lower end of the two-sided interval."""
    high: float | None = None
    p_value: float | None = None
    """Two-sided, against a mean of 0."""
    std: float | None = None
    """Standard deviation over the replicates (n - 1 in the denominator)."""
    num: int
    """Replicates."""

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval is on one side of 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def mean_interval(values: ArrayLike, *, confidence: float = CONFIDENCE) -> Estimate | None:
    """Return mean, Student's t interval and p of independent replicates without the NaN; None if there are none.

    For paired arms give the per-seed differences: this is then the paired t test. In simulated A/A comparisons it
    keeps its level from three seeds on; percentile bootstraps do not.
    If all values are equal and not 0, t is undefined. Then p is that of the sign-flip test, 2 / 2^n, and there is
    an interval (of no width) only if that p is small enough.

    >>> print(mean_interval([0.1, 0.3, 0.2]).p_value < 0.1)
    True

    Source: Student 1908, "The probable error of a mean".
    """
    sample = _finite(values)
    num = len(sample)
    if num < 2:
        return Estimate(mean=float(sample[0]), num=1) if num else None
    mean = float(sample.mean())
    std = float(sample.std(ddof=1))
    error = std / math.sqrt(num)
    if error <= 1e-12 * max(1.0, abs(mean)):  # equal values, except for rounding
        p_value = 1.0 if abs(mean) < 1e-12 else 2.0 / 2**num
        is_sure = p_value == 1.0 or p_value < 1 - confidence
        end = mean if is_sure else None
        return Estimate(mean=mean, low=end, high=end, std=0.0, p_value=p_value, num=num)
    half = t_quantile(0.5 + confidence / 2, num - 1) * error
    return Estimate(
        mean=mean, low=mean - half, high=mean + half, std=std, p_value=two_sided_p(mean / error, num - 1), num=num
    )


def sign_flip_p(differences: ArrayLike, *, rng: np.random.Generator | None = None, num_flips: int = 100_000) -> float:
    """Return the two-sided p of the sign-flip test: the share of sign patterns that give as large a mean.

    Exact up to 20 differences. Above, `num_flips` random patterns are drawn from `rng` (by default a generator of a
    fixed seed), and the observed one is counted among them. With n differences no p is below 2 / 2^n.

    >>> sign_flip_p([1, 2, 3, 4, 5, 6]) == 2 / 2**6
    True

    Source: Fisher 1935, "The design of experiments", sec. 21; Phipson & Smyth 2010 (p is never zero).
    """
    sample = _finite(differences)
    num = len(sample)
    if num == 0:
        return 1.0
    observed = abs(sample.sum()) * (1 - 1e-12)  # sums that are equal except for rounding count
    if num <= MAX_EXACT:
        sums = np.zeros(1)
        for value in sample:
            sums = np.concatenate([sums + value, sums - value])
        return float(np.mean(np.abs(sums) >= observed))
    generator = np.random.default_rng(0) if rng is None else rng
    as_large = 1
    for start in range(0, num_flips, 10_000):
        signs = generator.integers(0, 2, size=(min(10_000, num_flips - start), num)) * 2 - 1
        as_large += int(np.sum(np.abs(signs @ sample) >= observed))
    return as_large / (num_flips + 1)


def two_way_bootstrap(
    strata: Sequence[ArrayLike],
    *,
    rng: np.random.Generator,
    confidence: float = CONFIDENCE,
    num_resamples: int = 2_000,
) -> Estimate | None:
    """Return the mean and its percentile interval under resampling of seeds *and* of tasks.

    `strata` holds one array of shape `[num_seeds, num_tasks]` per family, with NaN for a missing cell. Seeds and
    tasks are resampled independently; families are fixed and weigh equally. The interval is for claims about new
    tasks of the same families. Below five seeds it is too narrow (9 % of A/A runs excluded 0 at three seeds).

    Source: Owen 2007, "The pigeonhole bootstrap", Annals of Applied Statistics 1(2).
    """
    tables = [np.asarray(stratum, dtype=np.float64) for stratum in strata]
    if not tables or any(table.ndim != 2 or not np.isfinite(table).any() for table in tables):
        return None
    resamples = np.zeros(num_resamples)
    num_seeds = len(tables[0])
    seeds = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=num_resamples)
    for table in tables:
        num_tasks = table.shape[1]
        tasks = rng.multinomial(num_tasks, np.full(num_tasks, 1 / num_tasks), size=num_resamples)
        resamples += _weighted_mean(table, seeds, tasks) / len(tables)
    low, high = np.nanquantile(resamples, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(
        mean=float(np.mean([np.nanmean(table) for table in tables])), low=float(low), high=float(high), num=num_seeds
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p values adjusted for their number, in the order given.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def adjusted_p(estimates: Mapping[str, Estimate | None]) -> dict[str, float]:
    """Return Holm's p of each estimate that has a p value, adjusted for their number."""
    p_values = {name: item.p_value for name, item in estimates.items() if item and item.p_value is not None}
    return dict(zip(p_values, holm(list(p_values.values())), strict=True))


def equivalence_p(differences: ArrayLike, margin: float) -> float | None:
    """Return the p against "the mean differs from 0 by `margin` or more"; None below two replicates.

    A small p speaks for no relevant difference. The method is two one-sided t tests.

    Source: Schuirmann 1987, "A comparison of the two one-sided tests procedure and the power approach".
    """
    if margin <= 0:
        raise ConfigError(f"The equivalence margin must be above 0, in units of the score, got {margin}.")
    estimate = mean_interval(differences)
    if estimate is None or estimate.std is None:
        return None
    error = estimate.std / math.sqrt(estimate.num)
    if error == 0:
        return float(abs(estimate.mean) >= margin)
    return 1 - t_cdf((margin - abs(estimate.mean)) / error, estimate.num - 1)


def macro_average(tables: Sequence[ArrayLike]) -> NDArray[np.float64]:
    """Return one number per seed: the mean over families of equal weight, one array of shape `[num_seeds]` each.

    A seed that misses a family is NaN: a mean over other families would not be comparable.
    """
    return np.asarray(np.mean(np.asarray(tables, dtype=np.float64), axis=0))


def finite_mean(values: ArrayLike) -> NDArray[np.float64]:
    """Return the mean of the finite values over the last axis; NaN if there are none."""
    table = np.asarray(values, dtype=np.float64)
    known = np.isfinite(table)
    counts = known.sum(axis=-1)
    return np.where(counts > 0, np.where(known, table, 0.0).sum(axis=-1) / np.maximum(counts, 1), np.nan)


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    sample = np.asarray(values, dtype=np.float64).ravel()
    return sample[np.isfinite(sample)]


def _weighted_mean(
    table: NDArray[np.float64], seeds: NDArray[np.int64], tasks: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the mean over cells; the weight of a cell is the number of draws of its seed times that of its task."""
    known = np.isfinite(table)
    filled = np.where(known, table, 0.0)
    total = np.einsum("rs,st,rt->r", seeds, filled, tasks, optimize=True)
    weight = np.einsum("rs,st,rt->r", seeds, known.astype(np.float64), tasks, optimize=True)
    with np.errstate(invalid="ignore"):
        return np.asarray(total / np.where(weight > 0, weight, np.nan))
