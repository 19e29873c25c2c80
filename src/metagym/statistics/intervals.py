"""Intervals and paired comparisons over replicates. Each method names its source, and knows nothing of runs.

The replicate is the meta-episode (seed): every function takes one number per seed, except the two-way bootstrap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from metagym.errors import ConfigError
from metagym.statistics.student_t import t_cdf, t_quantile, two_sided_p
from metagym.types import Record

CONFIDENCE, ALPHA = 0.95, 0.05
Bounds = tuple[float, float]
UNBOUNDED: Bounds = (-math.inf, math.inf)
MIN_SEEDS_FOR_SIGN_FLIP = 6
"""With fewer seeds the smallest two-sided p of an exact sign-flip test, 2 / 2^n, is above 0.05."""
MAX_EXACT = 20
"""Up to this number of differences, all 2^n sign patterns are counted."""


class Estimate(Record):
    """A mean over replicates with its interval; the ends are None without one (one replicate, or no variance)."""

    mean: float
    low: float | None = None
    """Lower end of the two-sided interval."""
    high: float | None = None
    p_value: float | None = None
    """Two-sided, against a mean of 0."""
    adjusted_p: float | None = None
    """Holm's p, if the estimate is in a table of several; the interval then holds together with those of the others."""
    std: float | None = None
    """Standard deviation over the replicates that the interval rests on (n - 1 in the denominator)."""
    num: int
    """Replicates."""

    @property
    def sign(self) -> int:
        """1 or -1 if the mean is shown to be above or below 0 at 5 % (by the adjusted p, if there is one); else 0."""
        p_value = self.p_value if self.adjusted_p is None else self.adjusted_p
        is_shown = self.low is not None and p_value is not None and p_value < ALPHA
        return int(math.copysign(1, self.mean)) if is_shown else 0


def mean_interval(
    values: ArrayLike, *, confidence: float = CONFIDENCE, resolution: float = 0.0, bounds: Bounds = UNBOUNDED
) -> Estimate | None:
    """Return mean, Student's t interval and p of independent replicates without the NaN; None without any.

    For paired arms give the per-seed differences: this is then the paired t test. In simulated A/A comparisons it
    keeps its level from three seeds on; percentile bootstraps do not.

    `resolution` is the change of one replicate if one of its episodes ends differently. By the rule of three, up to 3
    of n episodes may still change although all were equal; their variance, 3 / num * resolution^2, is added. So equal
    replicates give no certainty. Without a resolution they give no interval. The ends stay within `bounds`.

    >>> print(mean_interval([0.1, 0.3, 0.2]).p_value < 0.1)
    True
    >>> mean_interval([0.0, 0.0], resolution=0.05, bounds=(-1.0, 1.0)).high > 0.5
    True

    Source: Student 1908, "The probable error of a mean"; Hanley & Lippman-Hand 1983, "If nothing goes wrong, is
    everything all right?" (the rule of three).
    """
    sample = finite_sample(values)
    num = len(sample)
    if num < 2:
        return Estimate(mean=float(sample[0]), num=1) if num else None
    mean = float(sample.mean())
    std = _deviation(sample, 3 / num * resolution**2)
    if std == 0:
        return Estimate(mean=mean, std=0.0, p_value=1.0 if abs(mean) < 1e-12 else 2.0 / 2**num, num=num)
    low, high = t_ends(mean, std, num, confidence=confidence, bounds=bounds)
    p_value = two_sided_p(mean / (std / math.sqrt(num)), num - 1)
    return Estimate(mean=mean, low=low, high=high, std=std, p_value=p_value, num=num)


def welch_difference(first: ArrayLike, second: ArrayLike, *, bounds: Bounds = UNBOUNDED) -> Estimate | None:
    """Return the difference of two means of independent samples with Welch's t interval; None below two values.

    The rule of three adds variance, as in `mean_interval`, with the range of all values as the resolution.
    The ends stay within `bounds`.

    Source: Welch 1947, "The generalization of 'Student's' problem when several different population variances are
    involved".
    """
    samples = [finite_sample(first), finite_sample(second)]
    if min(map(len, samples)) < 2:
        return None
    width = float(np.ptp(np.concatenate(samples)))
    errors = [_deviation(sample, 3 / len(sample) * width**2) ** 2 / len(sample) for sample in samples]
    mean, error = float(samples[0].mean() - samples[1].mean()), math.sqrt(sum(errors))
    if error == 0:
        return Estimate(mean=mean, std=0.0, p_value=1.0, num=min(map(len, samples)))
    df = error**4 / sum(part**2 / (len(sample) - 1) for part, sample in zip(errors, samples, strict=True))
    num = math.floor(df) + 1  # so that the interval can be made again from the estimate
    low, high = t_ends(mean, error * math.sqrt(num), num, confidence=CONFIDENCE, bounds=bounds)
    p_value = two_sided_p(mean / error, num - 1)
    return Estimate(mean=mean, low=low, high=high, std=error * math.sqrt(num), p_value=p_value, num=num)


def t_ends(mean: float, std: float, num: int, *, confidence: float, bounds: Bounds) -> tuple[float, float]:
    """Return the ends of Student's t interval, within the bounds."""
    half = t_quantile(0.5 + confidence / 2, num - 1) * std / math.sqrt(num)
    least, greatest = min(bounds[0], mean), max(bounds[1], mean)  # a mean outside shows that the bounds are wrong
    return max(least, mean - half), min(greatest, mean + half)


def sign_flip_p(differences: ArrayLike, *, rng: np.random.Generator | None = None, num_flips: int = 100_000) -> float:
    """Return the two-sided p of the sign-flip test: the share of sign patterns that give as large a mean.

    Exact up to 20 differences. Above, `num_flips` random patterns are drawn from `rng` (by default a generator of a
    fixed seed), and the observed one is counted among them. With n differences no p is below 2 / 2^n.

    >>> sign_flip_p([1, 2, 3, 4, 5, 6]) == 2 / 2**6
    True

    Source: Fisher 1935, "The design of experiments", sec. 21; Phipson & Smyth 2010 (p is never zero).
    """
    sample = finite_sample(differences)
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
    mean = float(macro_average([finite_mean(table.ravel()) for table in tables]))
    low, high = map(float, np.nanquantile(resamples, [(1 - confidence) / 2, (1 + confidence) / 2]))
    if high - low < 1e-12:  # equal cells: resampling them shows nothing of other outcomes
        return Estimate(mean=mean, num=num_seeds)
    return Estimate(mean=mean, low=low, high=high, num=num_seeds)


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


def equivalence_p(differences: ArrayLike, margin: float, *, resolution: float = 0.0) -> float | None:
    """Return the p against "the mean differs from 0 by `margin` or more"; None below two replicates.

    A small p speaks for no relevant difference. The method is two one-sided t tests. With a `resolution` (see
    `mean_interval`) the variance is not below that of the margin itself: if one arm never succeeds and the other one
    does with probability `margin`, a replicate of m episodes varies by about margin / m. Without this, two seeds of
    zeros would prove that nothing differs. Equal values without a resolution show nothing.

    Source: Schuirmann 1987, "A comparison of the two one-sided tests procedure and the power approach"; Farrington &
    Manning 1990, "Test statistics and sample size formulae for comparative binomial trials" (variance at the margin).
    """
    if not 0 < margin < math.inf:
        raise ConfigError(f"The equivalence margin must be finite and above 0, in units of the score, got {margin}.")
    sample = finite_sample(differences)
    num = len(sample)
    if num < 2:
        return None
    error = _deviation(sample, 3 / num * resolution**2, least=margin * resolution) / math.sqrt(num)
    return 1 - t_cdf((margin - abs(float(sample.mean()))) / error, num - 1) if error else 1.0


def macro_average(tables: Sequence[ArrayLike]) -> NDArray[np.float64]:
    """Return one number per seed: the mean over families of equal weight, one array of shape `[num_seeds]` each.

    A seed that misses a family is NaN: a mean over other families would not be comparable.
    """
    return np.asarray(np.mean(np.sort(np.asarray(tables, dtype=np.float64), axis=0), axis=0))


def finite_mean(values: ArrayLike) -> NDArray[np.float64]:
    """Return the mean of the finite values over the last axis; NaN without any."""
    table = np.asarray(values, dtype=np.float64)
    known = np.isfinite(table)
    counts = known.sum(axis=-1)
    total = np.sort(np.where(known, table, 0.0), axis=-1).sum(axis=-1)  # sorted as in `finite_sample`
    return np.where(counts > 0, total / np.maximum(counts, 1), np.nan)


def finite_sample(values: ArrayLike) -> NDArray[np.float64]:
    """Return the finite values in ascending order, so that the rounding of a sum does not depend on their order."""
    sample = np.asarray(values, dtype=np.float64).ravel()
    return np.sort(sample[np.isfinite(sample)])


def _deviation(sample: NDArray[np.float64], extra: float, *, least: float = 0.0) -> float:
    """Return the standard deviation with `extra` variance added, at least the root of `least + extra`."""
    variance = float(sample.var(ddof=1))
    if variance <= 1e-24 * max(1.0, float(sample.mean()) ** 2):  # equal values, except for rounding
        variance = 0.0
    return math.sqrt(max(variance, least) + extra)


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
