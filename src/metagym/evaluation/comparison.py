"""Paired comparison of evaluated arms: the same tasks and seeds, one difference per seed, a fixed table of words.

A comparison is about the test score of the prompt that each arm chose on validation. `sp_0` is the same for all arms,
so that it cancels; subtracting two noisy measurements of it would only add noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from metagym.errors import ConfigError
from metagym.evaluation.controls import ArmKind
from metagym.evaluation.gains import gap_differences
from metagym.evaluation.looks import AtLooks, at_looks, looks_in_words
from metagym.evaluation.pairing import Endpoint, Pair, align
from metagym.evaluation.report import SCRIPTED_NOTE, EvaluationReport, power_in_words, word
from metagym.rendering import plural
from metagym.runs.manifest import differences_in_words
from metagym.statistics import (
    MIN_SEEDS_FOR_SIGN_FLIP,
    Estimate,
    detectable_effect,
    equivalence_p,
    sign_flip_p,
    together,
    two_way_bootstrap,
)
from metagym.statistics.intervals import ALPHA
from metagym.types import Record, Text, Texts


class FamilyDifference(Record):
    """The difference in one family."""

    difference: Estimate | None
    """Its interval holds together with those of all families of all arms that were compared."""
    adjusted_p: float | None
    """Holm's p over all these."""


class Comparison(Record):
    """One arm against another: a positive difference speaks for `first`."""

    first: Text
    second: Text
    second_kind: ArmKind = "method"
    """With `same again` the difference is the noise floor, unless it has no chance."""
    second_misses_chance: bool = False
    """Whether `second` needs chance that its models do not have: an A/A run of them is no noise floor."""
    endpoint: Endpoint
    """`chosen`: the prompt chosen on validation. `last`: the last prompt."""
    difference: Estimate | None
    """Student's t over the per-seed differences, families with equal weight: a claim about these tasks. If several
    arms were compared, the interval holds together with theirs, and `adjusted_p` is Holm's."""
    looks: tuple[int, ...] = ()
    """The numbers of seeds at which there was a result in any of the arms."""
    difference_at_any_look: Estimate | None = None
    """The difference with an interval that holds however often seeds were added (for several arms at once:
    Bonferroni). After a second look the verdict follows it."""
    difference_at_any_look_bounded: Estimate | None = None
    """The same by the bounds of the scores alone: wider, and right however skewed the seeds are."""
    families: dict[Text, FamilyDifference]
    sign_flip_p: float | None
    """Exact up to 20 seeds; None below six, because it cannot fall below 0.05 then."""
    new_tasks: Estimate | None
    """Two-way bootstrap over seeds and tasks: the interval for a claim about new tasks of these families."""
    gap: Estimate | None = None
    """Memorisation gap of `first` minus that of `second`, paired by seed: against `permuted outcomes`, the part of the
    gap that comes from the outcomes. If several arms were compared, the interval holds together with theirs."""
    detectable: float | None
    """The true difference that this number of seeds of this variance finds with 80 % power. If several arms were
    compared, each test is at 5 % divided by their number."""
    margin: float | None
    """The margin within which a difference does not matter; None if it was not given."""
    equivalence_p: float | None
    """Two one-sided t tests against a difference of `margin` or more, of this comparison alone. "No difference" needs
    it below 0.05 divided by the number of comparisons, and the interval within the margin."""
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

    The intervals of several comparisons hold together, and the words follow the p that is adjusted for their number.

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
    tables, asked, scale = align(reports, endpoint)
    known = {family: np.all([np.isfinite(table[family]) for table in tables], axis=0) for family in tables[0]}
    pairs = [
        Pair.of(tables[0], table, known, (asked[0], also_asked), scale)
        for table, also_asked in zip(tables[1:], asked[1:], strict=True)
    ]
    overall = together({number: pair.difference for number, pair in enumerate(pairs)}, bounds=scale.of_differences)
    by_family = together(
        {(number, family): item for number, pair in enumerate(pairs) for family, item in pair.families.items()},
        bounds=scale.of_differences,
    )
    gaps = gap_differences(first.config, scale, first.gaps, [other.gaps for other in others])
    looks = tuple(sorted({look for report in reports for look in report.looks}))
    found = []
    for number, (other, pair, named) in enumerate(zip(others, pairs, differing, strict=True)):
        families = {family: by_family[number, family] for family in pair.families}
        seen = at_looks(pair.difference, pair.per_seed, looks, bounds=scale.of_differences, num_arms=len(pairs))
        compared = _comparison(
            first, other, pair, overall[number], seen, families, endpoint, margin, seed, named, len(pairs)
        )
        found.append(compared.model_copy(update={"gap": gaps[number]}))
    return tuple(found)


def differences(first: EvaluationReport, second: EvaluationReport) -> tuple[str, ...]:
    """Return the differences between two measurement fingerprints in words; empty if they are equal."""
    return tuple(differences_in_words(first.measurement, second.measurement, "{} ({} and {})"))


def _comparison(
    first: EvaluationReport,
    second: EvaluationReport,
    pair: Pair,
    difference: Estimate | None,
    seen: AtLooks,
    families: Mapping[str, Estimate | None],
    endpoint: Endpoint,
    margin: float | None,
    seed: int,
    forced: tuple[str, ...],
    num_arms: int,
) -> Comparison:
    num_seeds, std = (0, None) if difference is None else (difference.num, difference.std)
    equal_p = None if margin is None else equivalence_p(pair.per_seed, margin, resolution=pair.resolution)
    # Bonferroni's, as the interval is. The interval must be within the margin, too: words and intervals agree.
    followed, is_shown = difference, equal_p is not None and num_arms * equal_p < ALPHA
    if len(seen.looks) > 1:
        followed, is_shown = seen.normal, True
    least, greatest = pair.scale.of_scores
    scripted = first.scripted or second.scripted
    notes = [f"{report.arm}: {report.unfinished}" for report in (first, second) if report.unfinished]
    if without := [family for family, item in families.items() if item is None]:
        notes.append(
            f"No task of {', '.join(without)} has a score in all arms, so that no mean over families is known."
        )
    notes += [SCRIPTED_NOTE] if scripted else []
    if num_seeds < MIN_SEEDS_FOR_SIGN_FLIP:
        notes.append(f"With {plural(num_seeds, 'seed')} no exact sign-flip test can give p < 0.05.")
    if first.arm == second.arm:
        notes.append(f"Both arms are named {first.arm!r}, so that they share their randomness: give them two names.")
    if second.misses_chance:
        notes.append(f"{second.arm} needs chance, and its models have no chance (temperature 0).")
    notes += [f"{first.arm} against {second.arm}: {note}" for note in seen.notes]
    if forced:
        notes.append("FORCED: the measurements differ in " + "; ".join(forced))
    return Comparison(
        first=first.arm,
        second=second.arm,
        second_kind=second.kind,
        second_misses_chance=second.misses_chance,
        endpoint=endpoint,
        difference=difference,
        looks=seen.looks,
        difference_at_any_look=seen.normal,
        difference_at_any_look_bounded=seen.bounded,
        families={
            name: FamilyDifference(difference=item, adjusted_p=None if item is None else item.adjusted_p)
            for name, item in families.items()
        },
        sign_flip_p=sign_flip_p(pair.per_seed) if num_seeds >= MIN_SEEDS_FOR_SIGN_FLIP else None,
        new_tasks=two_way_bootstrap(list(pair.cells.values()), rng=np.random.default_rng(seed)),
        detectable=detectable_effect(std, num_seeds, alpha=ALPHA / num_arms) if std else None,
        margin=margin,
        equivalence_p=equal_p,
        verdict=verdict_between(
            first.arm,
            second.arm,
            followed,
            is_equal=is_shown and _is_within(followed, margin),
            margin=margin,
            looks=seen.looks,
            largest=pair.scale.of_differences[1],
            num_arms=num_arms,
        ),
        num_pairs=pair.num_pairs,
        num_dropped=pair.num_dropped,
        worst_case=(pair.filled_difference(least, greatest), pair.filled_difference(greatest, least)),
        forced=forced,
        scripted=scripted,
        notes=tuple(notes),
    )


def verdict_between(
    first: str,
    second: str,
    difference: Estimate | None,
    *,
    is_equal: bool = False,
    margin: float | None = None,
    looks: Sequence[int] = (),
    largest: float = math.inf,
    num_arms: int = 1,
) -> str:
    """Return the words for a difference of two arms; they follow the (adjusted) p, and name several `looks`.

    `num_arms` is the number of comparisons that hold together.
    """
    if difference is None:
        return "no interval: no seed has scores of both arms in all families"
    named, seen = word(difference, is_equal=is_equal), looks_in_words(looks)
    if named in ("better", "worse"):
        return f"{first} is {named} than {second}{seen}"
    if named == "no difference":
        return f"no difference of {margin:g} or more between {first} and {second}{seen}"
    if named == "no interval":
        return f"no interval: {first} and {second} share too few seeds; run more"
    assert difference.std is not None  # there is an interval
    # The power is that of the fixed t test.
    power = seen or f"; {power_in_words(difference.std, difference.num, largest=largest, num_arms=num_arms)}"
    return f"no difference shown between {first} and {second}{power}"


def _is_within(difference: Estimate | None, margin: float | None) -> bool:
    if difference is None or difference.low is None or difference.high is None or margin is None:
        return False
    return max(-difference.low, difference.high) < margin
