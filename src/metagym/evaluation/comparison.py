"""Paired comparison of evaluated arms: the same tasks and seeds, one difference per seed, a fixed table of words.

A comparison is about the test score of the prompt that each arm chose on validation. `sp_0` is the same for all arms,
so that it cancels; subtracting two noisy measurements of it would only add noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from metagym.errors import ConfigError
from metagym.evaluation.controls import ArmKind
from metagym.evaluation.gains import Array
from metagym.evaluation.report import SCRIPTED_NOTE, EvaluationReport, power_in_words, word
from metagym.rendering import plural
from metagym.runs.measurements import Role
from metagym.statistics import (
    MIN_SEEDS_FOR_SIGN_FLIP,
    Estimate,
    adjusted_p,
    detectable_effect,
    equivalence_p,
    finite_mean,
    macro_average,
    mean_interval,
    sign_flip_p,
    two_way_bootstrap,
)
from metagym.types import Record, Text, Texts

Endpoint = Literal["chosen", "last"]
_ROLES = {"chosen": Role.TEST_CHOSEN, "last": Role.TEST_LAST}


class FamilyDifference(Record):
    """The difference in one family."""

    difference: Estimate | None
    adjusted_p: float | None
    """Holm's p over the families of this comparison."""


class Comparison(Record):
    """One arm against another: a positive difference speaks for `first`."""

    first: Text
    second: Text
    second_kind: ArmKind = "method"
    """With `same again` the difference is the noise floor."""
    endpoint: Endpoint
    """`chosen`: the prompt chosen on validation. `last`: the last prompt."""
    difference: Estimate | None
    """Student's t over the per-seed differences, families with equal weight: a claim about these tasks."""
    families: dict[Text, FamilyDifference]
    sign_flip_p: float | None
    """Exact up to 20 seeds; None below six, because it cannot fall below 0.05 then."""
    new_tasks: Estimate | None
    """Two-way bootstrap over seeds and tasks: the interval for a claim about new tasks of these families."""
    detectable: float | None
    """The true difference that this number of seeds of this variance finds with 80 % power."""
    margin: float | None
    """The margin within which a difference does not matter; None if it was not given."""
    equivalence_p: float | None
    verdict: Text
    num_pairs: int
    num_dropped: int
    """Pairs (family, seed, task) that are left out of all arms, because one of them has an infrastructure error."""
    worst_case: tuple[float, float]
    """The mean difference if every missing score had gone against `first`, and if it had gone for it."""
    forced: Texts = ()
    """The differences between the measurements, if the comparison was forced."""
    scripted: bool
    notes: Texts = ()


def compare(
    reports: Sequence[EvaluationReport],
    *,
    endpoint: Endpoint = "chosen",
    margin: float | None = None,
    force: bool = False,
    seed: int = 0,
) -> tuple[Comparison, ...]:
    """Compare the first arm with each of the others, and return the comparisons in their order.

    A pair (family, seed, task) that one arm misses is dropped from all arms. `margin` is the difference that would
    not matter: without it nothing is ever called equal. `seed` fixes the bootstrap.

    Raises:
        ConfigError: the measurements of the arms differ (unless forced), or have no family, seed and task in common.
    """
    if len(reports) < 2:
        raise ConfigError(f"Expected at least two evaluations to compare, got {len(reports)}.")
    first, *others = reports
    differing = [differences(first, other) for other in others]
    for other, named in zip(others, differing, strict=True):
        if named and not force:
            raise ConfigError(
                f"Expected {first.arm!r} and {other.arm!r} to be measured alike, but they differ in "
                f"{'; '.join(named)}. Evaluate both in the same way, or force the comparison (--force): it will name "
                "the difference."
            )
    tables = _align(reports, _ROLES[endpoint])
    known = {family: np.all([np.isfinite(table[family]) for table in tables], axis=0) for family in tables[0]}
    return tuple(
        _compare(first, other, tables[0], table, known, endpoint, margin, seed, named)
        for other, table, named in zip(others, tables[1:], differing, strict=True)
    )


def differences(first: EvaluationReport, second: EvaluationReport) -> tuple[str, ...]:
    """Return the differences between two measurement fingerprints in words; empty if there are none."""

    def between(one: Any, two: Any, path: str) -> Iterator[str]:
        if isinstance(one, Mapping) and isinstance(two, Mapping):
            for name in dict.fromkeys([*one, *two]):
                yield from between(one.get(name), two.get(name), f"{path}.{name}" if path else name)
        elif one != two:
            yield f"{path} ({one!r:.80} and {two!r:.80})"

    return tuple(between(first.measurement, second.measurement, ""))


def _align(reports: Sequence[EvaluationReport], role: Role) -> list[dict[str, Array]]:
    """Return per arm and family the scores that all arms have in common, shape `[num_seeds, num_tasks]`."""
    cells = [
        {
            (item.family, item.seed, task_id): math.nan if score is None else score
            for item in report.tests
            if item.role is role
            for task_id, score in zip(item.task_ids, item.scores, strict=True)
        }
        for report in reports
    ]
    common = [key for key in cells[0] if all(key in other for other in cells)]
    if not common:
        raise ConfigError(
            "Expected evaluations that share families, seeds and tasks, got none in common. Use one protocol for all."
        )
    seeds = dict.fromkeys(seed for _, seed, _ in common)
    tasks_of: dict[str, dict[str, None]] = {}
    for family, _, task in common:
        tasks_of.setdefault(family, {})[task] = None

    def table(cell: Mapping[tuple[str, int, str], float], family: str) -> Array:
        return np.array([[cell.get((family, seed, task), math.nan) for task in tasks_of[family]] for seed in seeds])

    return [{family: table(cell, family) for family in tasks_of} for cell in cells]


def _compare(
    first: EvaluationReport,
    second: EvaluationReport,
    ours: dict[str, Array],
    theirs: dict[str, Array],
    known: dict[str, NDArray[np.bool_]],
    endpoint: Endpoint,
    margin: float | None,
    seed: int,
    forced: tuple[str, ...],
) -> Comparison:
    cells = {family: np.where(known[family], ours[family] - theirs[family], np.nan) for family in ours}
    rows = {family: finite_mean(table) for family, table in cells.items()}
    per_seed = macro_average(list(rows.values()))
    difference = mean_interval(per_seed)
    num_seeds, std = (0, None) if difference is None else (difference.num, difference.std)
    estimates = {family: mean_interval(row) for family, row in rows.items()}
    adjusted = adjusted_p(estimates)
    equal_p = None if margin is None else equivalence_p(per_seed, margin)
    least, greatest = first.config.score_range
    scripted = first.scripted or second.scripted

    def filled_difference(our_guess: float, their_guess: float) -> float:
        """Return the mean difference with a guess for each missing score of the two arms."""
        filled = [
            np.nan_to_num(ours[name], nan=our_guess) - np.nan_to_num(theirs[name], nan=their_guess) for name in ours
        ]
        return float(np.mean([table.mean() for table in filled]))

    notes = [SCRIPTED_NOTE] if scripted else []
    if num_seeds < MIN_SEEDS_FOR_SIGN_FLIP:
        notes.append(f"With {plural(num_seeds, 'seed')} no exact sign-flip test can give p < 0.05.")
    if first.arm == second.arm:
        notes.append(f"Both arms are named {first.arm!r}, so that they share their randomness: give them two names.")
    if forced:
        notes.append("FORCED: the measurements differ in " + "; ".join(forced))
    return Comparison(
        first=first.arm,
        second=second.arm,
        second_kind=second.kind,
        endpoint=endpoint,
        difference=difference,
        families={
            name: FamilyDifference(difference=estimate, adjusted_p=adjusted.get(name))
            for name, estimate in estimates.items()
        },
        sign_flip_p=sign_flip_p(per_seed) if num_seeds >= MIN_SEEDS_FOR_SIGN_FLIP else None,
        new_tasks=two_way_bootstrap(list(cells.values()), rng=np.random.default_rng(seed)),
        detectable=detectable_effect(std, num_seeds) if std else None,
        margin=margin,
        equivalence_p=equal_p,
        verdict=_verdict(first.arm, second.arm, difference, equal_p, margin),
        num_pairs=int(sum(mask.sum() for mask in known.values())),
        num_dropped=int(sum((~mask).sum() for mask in known.values())),
        worst_case=(filled_difference(least, greatest), filled_difference(greatest, least)),
        forced=forced,
        scripted=scripted,
        notes=tuple(notes),
    )


def _verdict(first: str, second: str, difference: Estimate | None, equal_p: float | None, margin: float | None) -> str:
    if difference is None:
        return "no interval: no seed has a score in both arms"
    is_equal = equal_p is not None and equal_p < 0.05
    named = word(difference.mean, difference.low, difference.high, is_equal=is_equal)
    if named in ("better", "worse"):
        return f"{first} is {named} than {second}"
    if named == "no difference":
        return f"no difference of {margin:g} or more between {first} and {second}"
    if named == "no interval":
        return f"no interval: {first} and {second} share too few seeds; run more"
    return f"no difference shown between {first} and {second}; {power_in_words(difference.std or 0.0, difference.num)}"
