"""Several estimates in one table: intervals that hold together, ranks, and the luck of the first row."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

from metagym.statistics.intervals import (
    CONFIDENCE,
    UNBOUNDED,
    Bounds,
    Estimate,
    finite_mean,
    holm,
    mean_interval,
    t_ends,
)

K = TypeVar("K")


def together(
    estimates: Mapping[K, Estimate | None], *, confidence: float = CONFIDENCE, bounds: Bounds = UNBOUNDED
) -> dict[K, Estimate | None]:
    """Return the estimates of one table with intervals that hold together, and with Holm's p.

    The intervals are Bonferroni's: all of them cover the truth at once with the given confidence, however the
    estimates depend on each other. Holm's test is sharper. If it shows a difference that Bonferroni's interval would
    not, the interval ends at 0: so it never contradicts the adjusted p, which the words follow. At 95 % each of two
    promises holds: no uncut interval misses, and no difference is claimed that is not there.

    >>> one = mean_interval([0.1, 0.3, 0.2])
    >>> found = together({"a": one, "b": one})["a"]
    >>> found.adjusted_p == 2 * one.p_value, found.low < one.low
    (True, True)

    Source: Holm 1979; Strassburger & Bretz 2008, "Compatible simultaneous lower confidence bounds for the Holm
    procedure and other Bonferroni-based closed tests", Statistics in Medicine 27 (an end at 0 if Holm rejects).
    """
    alpha = round(1 - confidence, 12)
    tested = {name: item for name, item in estimates.items() if item is not None and item.p_value is not None}
    adjusted = dict(zip(tested, holm([item.p_value or 0.0 for item in tested.values()]), strict=True))
    found = dict(estimates)
    for name, item in tested.items():
        update: dict[str, float | None] = {"adjusted_p": adjusted[name]}
        if item.low is not None and item.std:
            each = 1 - alpha / len(tested)
            low, high = t_ends(item.mean, item.std, item.num, confidence=each, bounds=bounds)
            if adjusted[name] < alpha:
                low, high = (max(low, 0.0), high) if item.mean > 0 else (low, min(high, 0.0))
            update |= {"low": low, "high": high}
        found[name] = item.model_copy(update=update)
    return found


def rank_intervals(scores: Mapping[K, ArrayLike], *, resolution: float = 0.0) -> dict[K, tuple[int, int]]:
    """Return for each arm the best and the worst rank that its scores, one per seed, leave open at 95 %, all at once.

    All pairs are tested by paired t tests, adjusted by Holm. The best rank open to an arm is 1 plus the number of arms
    shown to be better, the worst is the number of arms minus those shown to be worse.

    >>> rank_intervals({"a": [0.9, 0.8, 0.9, 1.0], "b": [0.1, 0.0, 0.2, 0.1], "c": [0.1, 0.3, 0.0, 0.1]})
    {'a': (1, 1), 'b': (2, 3), 'c': (2, 3)}

    Source: Mogstad, Romano, Shaikh & Wilhelm 2024, "Inference for ranks with applications to mobility across
    neighbourhoods and academic achievement across countries", Review of Economic Studies 91(1).
    """
    tables = {name: np.asarray(values, dtype=np.float64) for name, values in scores.items()}
    pairs = {
        (one, other): mean_interval(tables[one] - tables[other], resolution=resolution)
        for one, other in itertools.combinations(tables, 2)
    }
    signs = {pair: 0 if item is None else item.sign for pair, item in together(pairs).items()}
    better = {name: sum(sign == -1 for (one, _), sign in signs.items() if one == name) for name in tables}
    worse = {name: sum(sign == 1 for (one, _), sign in signs.items() if one == name) for name in tables}
    for (_, other), sign in signs.items():
        better[other] += sign == 1
        worse[other] += sign == -1
    return {name: (1 + better[name], len(tables) - worse[name]) for name in tables}


def chosen_on_other_seeds(scores: ArrayLike) -> float | None:
    """Return the mean score of the best arm, if it is chosen on all seeds but one and scored on that one.

    The best of several noisy means is too high (the winner's curse). Here no seed scores the arm that it chose.
    `scores` has the shape `[num_arms, num_seeds]`; seeds with a missing score are left out. None below two seeds.

    Source: Stone 1974, "Cross-validatory choice and assessment of statistical predictions".
    """
    table = np.asarray(scores, dtype=np.float64)
    table = table[:, np.isfinite(table).all(axis=0)]
    if table.shape[1] < 2:
        return None
    others = np.sort(table, axis=1).sum(axis=1, keepdims=True) - table
    return float(finite_mean(table[others.argmax(axis=0), np.arange(table.shape[1])]))
