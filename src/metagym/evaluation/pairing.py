"""The scores that several arms have in common: by family, seed and task, so that each pair shares all three."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metagym.errors import ConfigError
from metagym.evaluation.gains import Array
from metagym.evaluation.report import EvaluationReport
from metagym.evaluation.scale import ScoreScale
from metagym.runs.measurements import Role
from metagym.statistics import Estimate, finite_mean, macro_average, mean_interval

Endpoint = Literal["chosen", "last"]
_Cell = tuple[str, int, str]
"""Family, seed and task."""
Tables = dict[str, Array]
"""Scores by family, shape `[num_seeds, num_tasks]`."""
_ROLES = {"chosen": Role.TEST_CHOSEN, "last": Role.TEST_LAST}


def scores_by_seed(reports: Sequence[EvaluationReport], *, endpoint: Endpoint) -> tuple[Array, float]:
    """Return the test scores of shape `[num_arms, num_seeds]` on the common cells of all arms, and their resolution."""
    tables, _, scale = align(reports, endpoint)
    missing = {family: np.any([np.isnan(table[family]) for table in tables], axis=0) for family in tables[0]}
    rows = [
        macro_average([finite_mean(np.where(missing[family], np.nan, cells)) for family, cells in table.items()])
        for table in tables
    ]
    return np.array(rows), scale.resolution(*tables[0].values())


def align(reports: Sequence[EvaluationReport], endpoint: Endpoint) -> tuple[list[Tables], list[Asked], ScoreScale]:
    """Return per arm and family the scores that all arms have, then all that they were asked for, and their scale.

    A family that was asked of all arms stays, even if they have no score in common there: it has a weight.
    """
    means: list[dict[_Cell, float]] = [{} for _ in reports]
    missing: list[dict[_Cell, float]] = [{} for _ in reports]
    for number, report in enumerate(reports):
        for item in report.tests:
            if item.role is _ROLES[endpoint]:
                scores = item.task_means
                for task_id, share in item.missing_shares.items():
                    cell = (item.family, item.seed, task_id)
                    means[number][cell], missing[number][cell] = scores.get(task_id, math.nan), share
    all_asked = [key for key in means[0] if all(key in other for other in means)]
    scored = [key for key in all_asked if all(math.isfinite(arm[key]) for arm in means)]
    if not scored:
        raise ConfigError(
            "Expected evaluations that share families, seeds and tasks, got no common one. Use one protocol for all."
        )
    families = tuple(dict.fromkeys(family for family, _, _ in all_asked))
    asked_tables = (_tables(arms, all_asked, families) for arms in (means, missing))
    both = [Asked(*tables) for tables in zip(*asked_tables, strict=True)]
    return _tables(means, scored, families), both, ScoreScale.joint(report.scale for report in reports)


def _tables(arms: Sequence[Mapping[_Cell, float]], cells: Sequence[_Cell], families: Sequence[str]) -> list[Tables]:
    """Return for each arm a table per family, of the seeds and tasks of the cells; NaN for a value that is unknown."""
    seeds = dict.fromkeys(seed for _, seed, _ in cells)
    tasks_of: dict[str, dict[str, None]] = {family: {} for family in families}
    for family, _, task in cells:
        tasks_of[family][task] = None

    def table(arm: Mapping[_Cell, float], family: str) -> Array:
        rows = [[arm.get((family, seed, task), math.nan) for task in tasks_of[family]] for seed in seeds]
        return np.array(rows, dtype=np.float64).reshape(len(seeds), len(tasks_of[family]))

    return [{family: table(arm, family) for family in families} for arm in arms]


class Asked(NamedTuple):
    """What one arm was asked for, by family, shape `[num_seeds, num_tasks]`."""

    means: Tables
    """Mean scores of the known repetitions, NaN without any."""
    missing: Tables
    """The share of the repetitions without a score; NaN if the arm does not have the cell."""

    def filled(self, family: str, guess: float) -> Array:
        """Return the scores with a guess for each that is missing."""
        missing = np.nan_to_num(self.missing[family], nan=1.0)
        return np.nan_to_num(self.means[family]) * (1 - missing) + guess * missing


class Pair(NamedTuple):
    """Two arms on the pairs that all arms have."""

    cells: Tables
    """Differences, NaN for a pair that is left out."""
    asked: tuple[Asked, Asked]
    per_seed: Array
    resolution: float
    scale: ScoreScale

    @classmethod
    def of(
        cls,
        ours: Tables,
        theirs: Tables,
        known: Mapping[str, NDArray[np.bool_]],
        asked: tuple[Asked, Asked],
        scale: ScoreScale,
    ) -> Pair:
        """Return the pair of two arms, without the cells that are not `known` in all arms."""
        cells = {family: np.where(known[family], ours[family] - theirs[family], np.nan) for family in ours}
        per_seed = macro_average([finite_mean(table) for table in cells.values()])
        return cls(cells, asked, per_seed, scale.resolution(*cells.values()), scale)

    @property
    def difference(self) -> Estimate | None:
        """The mean over seeds, families weighing equally; None if no seed has a score in both arms."""
        return mean_interval(self.per_seed, resolution=self.resolution, bounds=self.scale.of_differences)

    @property
    def families(self) -> dict[str, Estimate | None]:
        """The mean over seeds in each family."""
        bounds = self.scale.of_differences
        return {
            family: mean_interval(finite_mean(table), resolution=self.scale.resolution(table), bounds=bounds)
            for family, table in self.cells.items()
        }

    def filled_difference(self, our_guess: float, their_guess: float) -> float:
        """Return the mean difference with a guess for each missing score of the two arms."""
        ours, theirs = self.asked
        filled = [ours.filled(name, our_guess) - theirs.filled(name, their_guess) for name in ours.means]
        return float(np.mean([table.mean() for table in filled]))

    @property
    def num_pairs(self) -> int:
        """The number of pairs that the difference is of."""
        return int(sum(np.isfinite(table).sum() for table in self.cells.values()))

    @property
    def num_dropped(self) -> int:
        """The number of pairs that were asked for, and that an arm has no score of."""
        return sum(table.size for table in self.asked[0].means.values()) - self.num_pairs
