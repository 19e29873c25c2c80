"""Which interval covers the mean score of an arm, if few of its meta-episodes succeed, and what it costs in width.

The laws are those of `false_positives.py`, such as `skewed`, where one meta-episode in ten finds the trick. Five
intervals of 95 % are compared on the same draws:

- `Student`: the library's, with the rule of three and the bounds of the scores;
- `Johnson`: Student's t, moved by the skewness of the seeds (Johnson 1978, "Modified t tests and confidence intervals
  for asymmetrical populations");
- `bootstrap t`: quantiles of the resampled t statistic in place of Student's (Efron 1979; Hall 1988, "Theoretical
  comparison of bootstrap confidence intervals");
- `empirical Bernstein`: holds for all laws within the bounds (Maurer & Pontil 2009);
- `bets`: the library's, holds for all laws within the bounds at all numbers of seeds (Waudby-Smith & Ramdas 2024).

The last lines are what no interval can undercut that holds for all laws within the bounds: if n seeds score s, a law
that scores 1 with probability p, and else s, shows just that with probability (1 - p)^n. Its mean, s + (1 - s) p, must
be in the interval for each p with (1 - p)^n above 5 %.

    python benchmarks/score_intervals.py [--comparisons 4000] [--resamples 400]
"""

from __future__ import annotations

import argparse
import math
from typing import Any, Final

import numpy as np
from false_positives import LAWS, SCALE, SEEDS
from numpy.typing import NDArray

from metagym.statistics import at_any_look_bounded, mean_interval, t_quantile

Array = NDArray[np.float64]
Ends = tuple[float, float]
ALPHA: Final = 0.05
NAMES: Final = ("Student", "Johnson", "bootstrap t", "empirical Bernstein", "bets")


def johnson(values: Array) -> Ends:
    """Return Student's interval, moved by skewness / (6 n) deviations to the side of the long tail."""
    num, mean, std = len(values), values.mean(), values.std(ddof=1)
    if std == 0:
        return mean, mean
    shift = float(np.mean((values - mean) ** 3)) / (6 * num * std**2)
    half = t_quantile(1 - ALPHA / 2, num - 1) * std / math.sqrt(num)
    return mean + shift - half, mean + shift + half


def bootstrap_t(values: Array, rng: np.random.Generator, num_resamples: int) -> Ends:
    """Return the interval by the quantiles of the resampled t statistic; resamples without variance are left out."""
    num, mean, error = len(values), values.mean(), values.std(ddof=1) / math.sqrt(len(values))
    resampled = values[rng.integers(num, size=(num_resamples, num))]
    errors = resampled.std(axis=1, ddof=1) / math.sqrt(num)
    varied = errors > 1e-12
    if not varied.any():
        return mean, mean
    low, high = np.quantile((resampled.mean(axis=1) - mean)[varied] / errors[varied], [ALPHA / 2, 1 - ALPHA / 2])
    return mean - high * error, mean - low * error


def empirical_bernstein(values: Array) -> Ends:
    """Return the interval by variance and bounds, half of alpha on each side."""
    num, mean, logarithm = len(values), values.mean(), math.log(4 / ALPHA)
    half = math.sqrt(2 * values.var(ddof=1) * logarithm / num) + 7 * logarithm / (3 * (num - 1))
    return mean - half, mean + half


def all_ends(values: Array, resolution: float, rng: np.random.Generator, num_resamples: int) -> dict[str, Ends]:
    """Return the ends of each interval, within the bounds of the scores."""
    student = mean_interval(values, resolution=resolution, bounds=SCALE.of_scores)
    bets = at_any_look_bounded(values, bounds=SCALE.of_scores)
    ends: list[Any] = [(item.low, item.high) for item in (student, bets) if item is not None]
    ends[1:1] = [johnson(values), bootstrap_t(values, rng, num_resamples), empirical_bernstein(values)]
    return {name: (max(0.0, low), min(1.0, high)) for name, (low, high) in zip(NAMES, ends, strict=True)}


def simulate(law: str, num_seeds: int, num_comparisons: int, num_resamples: int) -> dict[str, tuple[float, float]]:
    """Return how often each interval covers the mean of the law, and half its mean width."""
    rng, (draw, mean) = np.random.default_rng([num_seeds, num_comparisons]), LAWS[law]
    covered, widths = dict.fromkeys(NAMES, 0), dict.fromkeys(NAMES, 0.0)
    for _ in range(num_comparisons):
        tables = [np.asarray(table, dtype=float) for table in draw(rng, num_seeds)]
        values = np.mean([table.mean(axis=1) for table in tables], axis=0)
        for name, (low, high) in all_ends(values, SCALE.resolution(*tables), rng, num_resamples).items():
            covered[name] += low <= mean <= high
            widths[name] += (high - low) / 2
    return {name: (covered[name] / num_comparisons, widths[name] / num_comparisons) for name in NAMES}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--comparisons", type=int, default=4_000)
    parser.add_argument("--resamples", type=int, default=400)
    arguments = parser.parse_args()
    print("| law | interval | " + " | ".join(f"{num} seeds" for num in SEEDS) + " |")
    print("| --- " * (len(SEEDS) + 2) + "|")
    for law in LAWS:
        found = [simulate(law, num, arguments.comparisons, arguments.resamples) for num in SEEDS]
        for name in NAMES:
            cells = (f"{column[name][0]:.1%}, ±{column[name][1]:.2f}" for column in found)
            print(f"| {law} | {name} | " + " | ".join(cells) + " |", flush=True)
    for score in (0.0, 0.1, 0.5):
        least = (score + (1 - score) * (1 - ALPHA ** (1 / num)) for num in SEEDS)
        print(f"all seeds score {score:g}: the upper end is at least", ", ".join(f"{end:.2f}" for end in least))


if __name__ == "__main__":
    main()
