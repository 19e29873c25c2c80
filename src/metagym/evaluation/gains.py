"""The figures of an evaluation, from its measurements. `docs/evaluation.md` defines each one.

First comes one number per family and seed; then families are averaged with equal weight, and the interval is over
seeds. Missing scores stay missing (NaN): a pair of scores counts only if both are known.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metagym.evaluation.config import EvaluationConfig
from metagym.evaluation.scale import ZERO_TO_ONE, ScoreScale
from metagym.runs.measurements import Measurement, Role
from metagym.statistics import Estimate, finite_mean, macro_average, mean_interval, together
from metagym.statistics.intervals import Bounds
from metagym.types import Record

Array = NDArray[np.float64]
RATES = ("regression_rate", "invalid_action_rate", "invalid_action_rate_first")
"""The figures that are shares."""
TESTS = (Role.TEST_CHOSEN, Role.TEST_FIRST, Role.TEST_LAST)
FiguresBySeed = Mapping[str, Mapping[str, Array]]
"""By family and name: an array of shape `[num_seeds]`, or `[num_seeds, N]` for a curve."""


class Figures(Record):
    """The figures of one family, or of all together. Scores are in the environment's units, mostly 0 to 1."""

    gain: Estimate | None = None
    """The primary endpoint: the chosen prompt minus `sp_0` on the test tasks."""
    last_gain: Estimate | None = None
    """The last prompt minus `sp_0` on the test tasks: the result without a validation set."""
    test_chosen: Estimate | None = None
    test_first: Estimate | None = None
    test_last: Estimate | None = None
    optimism: Estimate | None = None
    """Validation minus test score of the chosen prompt: the bias of choosing the best of several noisy scores."""
    replay_gain: Estimate | None = None
    """The gain of a reflection on the batch that it saw, averaged over the reflections."""
    transfer_gain: Estimate | None = None
    """The gain of the same reflections on the validation tasks, which they did not see."""
    kinds_gain: Estimate | None = None
    """The gain of the same reflections on fresh tasks of the kinds that they saw, if the task set names kinds."""
    memorisation_gap: Estimate | None = None
    """Replay gain minus the gain on tasks that were not seen (of the same kinds, if there are kinds; else on the
    validation tasks): the gain on the seen tasks only."""
    area: Estimate | None = None
    """Area under the raw validation curve, divided by N."""
    regression_rate: Estimate | None = None
    """Share of the reflections that lowered the validation score."""
    invalid_action_rate: Estimate | None = None
    """Share of invalid actions under the chosen prompt, on the test tasks."""
    invalid_action_rate_first: Estimate | None = None
    """The same under `sp_0`."""
    online: tuple[Estimate | None, ...] = ()
    """Score of each meta-step's fresh batch before it was reflected upon, shape `[N]`: no task chose anything."""
    online_cumulative: tuple[Estimate | None, ...] = ()
    """Mean of the online scores up to each meta-step, shape `[N]`."""
    validation: tuple[Estimate | None, ...] = ()
    """The raw validation score of each prompt, shape `[N + 1]`: no best-so-far."""

    @property
    def fresh_gain(self) -> Estimate | None:
        """The gain of the reflections on tasks that they did not see, which the memorisation gap takes off."""
        return self.kinds_gain or self.transfer_gain


class MeasurementTable:
    """Measurements by family, seed, role and index."""

    def __init__(self, measurements: Iterable[Measurement]) -> None:
        self._by_key = {item.key: item for item in measurements}
        self._last = {key[:3]: item for key, item in self._by_key.items()}
        self.families = tuple(dict.fromkeys(item.family for item in self._by_key.values()))
        self.seeds = tuple(sorted({item.seed for item in self._by_key.values()}))

    def num_of(self, *roles: Role) -> int:
        """Return the number of measurements in these roles."""
        return sum(role in roles for _, _, role, _ in self._by_key)

    def scores(self) -> Iterator[float]:
        """Yield all known scores."""
        return (score for item in self._by_key.values() for score in item.scores if score is not None)

    def get(self, family: str, seed: int, role: Role, index: int | None = None) -> Measurement | None:
        """Return the measurement; without `index` the last one of that role."""
        key = (family, seed, role.value)
        return self._last.get(key) if index is None else self._by_key.get((*key, index))


def mean_of(measurement: Measurement | None) -> float:
    """Return the mean score; NaN if no score is known."""
    return math.nan if measurement is None or measurement.mean is None else measurement.mean


def paired_difference(first: Measurement | None, second: Measurement | None) -> float:
    """Return the mean of `first - second` over the tasks with both scores; NaN without any."""
    if first is None or second is None:
        return math.nan
    ours, theirs = first.task_means, second.task_means
    return float(finite_mean([ours[task_id] - theirs[task_id] for task_id in ours if task_id in theirs]))


def figures_by_seed(table: MeasurementTable, family: str, seed: int, num_steps: int) -> dict[str, float | Array]:
    """Return the figures of one meta-episode: numbers, and curves of shape `[N]` or `[N + 1]`."""
    first = table.get(family, seed, Role.TEST_FIRST)
    chosen = table.get(family, seed, Role.TEST_CHOSEN)
    last = table.get(family, seed, Role.TEST_LAST)
    onlines = [table.get(family, seed, Role.ONLINE, index) for index in range(num_steps)]
    replays = [table.get(family, seed, Role.REPLAY, index) for index in range(num_steps)]
    validations = [table.get(family, seed, Role.VALIDATION, index) for index in range(num_steps + 1)]
    validation = np.array([mean_of(item) for item in validations])
    online = np.array([mean_of(item) for item in onlines])
    steps = np.array([paired_difference(new, old) for old, new in itertools.pairwise(validations)])
    replayed = np.array([*map(paired_difference, replays, onlines)])
    befores = [table.get(family, seed, Role.KINDS_BEFORE, index) for index in range(num_steps)]
    afters = [table.get(family, seed, Role.KINDS_AFTER, index) for index in range(num_steps)]
    on_kinds = np.array([*map(paired_difference, afters, befores)])
    replay_gain, transfer_gain, kinds_gain = (float(finite_mean(item)) for item in (replayed, steps, on_kinds))
    has_kinds = table.num_of(Role.KINDS_BEFORE) > 0
    # A reflection without fresh tasks of its kinds is left out on both sides of the gap.
    replayed_on_kinds = float(finite_mean(np.where(np.isfinite(on_kinds), replayed, np.nan)))
    chosen_validation = math.nan if chosen is None else float(validation[chosen.index])
    return {
        "gain": paired_difference(chosen, first),
        "last_gain": paired_difference(last, first),
        "test_chosen": mean_of(chosen),
        "test_first": mean_of(first),
        "test_last": mean_of(last),
        "optimism": chosen_validation - mean_of(chosen),
        "replay_gain": replay_gain,
        "transfer_gain": transfer_gain,
        "kinds_gain": kinds_gain,
        "memorisation_gap": replayed_on_kinds - kinds_gain if has_kinds else replay_gain - transfer_gain,
        "area": float(np.mean((validation[:-1] + validation[1:]) / 2)),
        "regression_rate": float(finite_mean(np.where(np.isfinite(steps), steps < 0, np.nan))),
        "invalid_action_rate": _invalid_rate(chosen),
        "invalid_action_rate_first": _invalid_rate(first),
        "online": online,
        "online_cumulative": np.cumsum(online) / np.arange(1, num_steps + 1),
        "validation": validation,
    }


def figures_of_all(table: MeasurementTable, num_steps: int) -> FiguresBySeed:
    """Return the figures of all meta-episodes."""
    rows = {
        family: [figures_by_seed(table, family, seed, num_steps) for seed in table.seeds] for family in table.families
    }
    return {
        family: {name: np.array([row[name] for row in seeds], dtype=np.float64) for name in seeds[0]}
        for family, seeds in rows.items()
    }


def over_families(figures: FiguresBySeed, name: str) -> Array:
    """Return one figure of each seed, families with equal weight; NaN if a family is missing, empty without any."""
    return macro_average([columns[name] for columns in figures.values()]) if figures else np.empty(0)


def scores_under_one_prompt(table: MeasurementTable, family: str, num_steps: int) -> list[list[float]] | None:
    """Return the online scores, shape `[num_seeds, num_steps]`, if all were played under the same prompt; else None."""
    rows = [[table.get(family, seed, Role.ONLINE, index) for index in range(num_steps)] for seed in table.seeds]
    if len({item.prompt for row in rows for item in row if item is not None}) != 1:
        return None
    return [[mean_of(item) for item in row] for row in rows]


def notes_of_missing(arm: str, measurements: Iterable[Measurement]) -> list[str]:
    """Return a note for each purpose of which scores are missing, with their number."""
    scores: dict[str, list[float | None]] = {}
    for item in measurements:
        purpose = "test" if item.role in (*TESTS, Role.STREAM_TEST) else item.role.value
        scores.setdefault(purpose, []).extend(item.scores)
    return [
        f"{arm}: {purpose} scores missing because of infrastructure errors: {found.count(None)} of {len(found)}."
        for purpose, found in scores.items()
        if None in found
    ]


def gap_differences(
    config: EvaluationConfig, scale: ScoreScale, first: Mapping[int, float], others: Sequence[Mapping[int, float]]
) -> dict[int, Estimate | None]:
    """Return the differences of an arm's memorisation gaps by seed from those of others, paired by seed.

    The intervals hold together. An arm without gaps has None.
    """
    num_episodes, (least, greatest) = _measured_on("memorisation_gap", config, scale)
    resolution = scale.of_one_in(num_episodes * len(config.families))
    bounds = (least - greatest, greatest - least)
    pairs = [[first[seed] - other[seed] for seed in sorted(first.keys() & other.keys())] for other in others]
    found = {number: mean_interval(pair, resolution=resolution, bounds=bounds) for number, pair in enumerate(pairs)}
    return together(found, bounds=bounds)


def summarise(
    figures: FiguresBySeed, config: EvaluationConfig, scale: ScoreScale
) -> tuple[Figures, dict[str, Figures]]:
    """Return the figures over all families, and those of each."""
    if not figures:  # nothing was measured yet
        return Figures(), {}
    overall = {name: over_families(figures, name) for name in Figures.model_fields}
    return _figures(overall, config, scale, len(figures)), {
        family: _figures(columns, config, scale) for family, columns in figures.items()
    }


def _figures(
    columns: Mapping[str, Array], config: EvaluationConfig, scale: ScoreScale, num_families: int = 1
) -> Figures:
    estimates: dict[str, Any] = {}
    for name, column in columns.items():
        of_figure = ZERO_TO_ONE if name in RATES else scale
        num_episodes, bounds = _measured_on(name, config, of_figure)
        if column.ndim == 1:
            sizes, rows = [num_episodes], [column]
        else:
            sizes, rows = [num_episodes] * len(column.T), list(column.T)
        if name == "online_cumulative":  # entry i is over i + 1 meta-steps
            sizes = [size * (index + 1) for index, size in enumerate(sizes)]
        found = tuple(
            mean_interval(row, resolution=of_figure.of_one_in(size * num_families), bounds=bounds)
            for row, size in zip(rows, sizes, strict=True)
        )
        estimates[name] = found[0] if column.ndim == 1 else found
    return Figures.model_validate(estimates)


def _measured_on(name: str, config: EvaluationConfig, scale: ScoreScale) -> tuple[int, Bounds]:
    """Return the number of episodes of one seed and family that a figure is a mean over, and its bounds.

    `scale` is that of the figure: rates are from 0 to 1 whatever the scores are.
    """
    learning = config.num_steps * config.episodes_per_step
    validation, width = config.num_validation, scale.width
    num_test = config.num_test * config.test_repetitions
    if name in ("gain", "last_gain"):
        return num_test, scale.of_differences
    return {
        "optimism": (min(validation, num_test), scale.of_differences),
        "replay_gain": (learning, scale.of_differences),
        "kinds_gain": (learning, scale.of_differences),
        "transfer_gain": (validation * config.num_steps, scale.of_differences),
        "memorisation_gap": (min(learning, validation * config.num_steps or learning), (-2 * width, 2 * width)),
        "area": (validation * config.num_steps, scale.of_scores),
        "regression_rate": (config.num_steps, scale.of_scores),
        "online": (config.episodes_per_step, scale.of_scores),
        "online_cumulative": (config.episodes_per_step, scale.of_scores),
        "validation": (validation, scale.of_scores),
    }.get(name, (num_test, scale.of_scores))


def _invalid_rate(measurement: Measurement | None) -> float:
    return measurement.num_invalid / measurement.num_steps if measurement and measurement.num_steps else math.nan
