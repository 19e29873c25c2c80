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


def align(reports: Sequence[EvaluationReport], endpoint: Endpoint) -> tuple[list[Tables], list[Tables], ScoreScale]:
    """Return per arm and family the scores that all arms have, then those that all were asked for, and their scale."""
    asked: list[dict[_Cell, float]] = [
        {
            (item.family, item.seed, task_id): item.task_means.get(task_id, math.nan)
            for item in report.tests
            if item.role is _ROLES[endpoint]
            for task_id in item.task_ids
        }
        for report in reports
    ]
    cells = [{key: score for key, score in arm.items() if math.isfinite(score)} for arm in asked]
    tables = _tables(cells)
    if not tables[0]:
        raise ConfigError(
            "Expected evaluations that share families, seeds and tasks, got no common one. Use one protocol for all."
        )
    return tables, _tables(asked), ScoreScale.joint(report.scale for report in reports)


def _tables(arms: Sequence[Mapping[_Cell, float]]) -> list[Tables]:
    """Return for each arm a table per family, of the seeds and tasks that all arms have; NaN for a cell without one."""
    common = [key for key in arms[0] if all(key in other for other in arms)]
    seeds = dict.fromkeys(seed for _, seed, _ in common)
    tasks_of: dict[str, dict[str, None]] = {}
    for family, _, task in common:
        tasks_of.setdefault(family, {})[task] = None

    def table(arm: Mapping[_Cell, float], family: str) -> Array:
        return np.array([[arm.get((family, seed, task), math.nan) for task in tasks_of[family]] for seed in seeds])

    return [{family: table(arm, family) for family in tasks_of} for arm in arms]


class Pair(NamedTuple):
    """Two arms on the pairs that all arms have."""

    cells: Tables
    """Differences, NaN for a pair that is left out."""
    asked: tuple[Tables, Tables]
    """The scores of both arms on all that was asked for, NaN for a missing one."""
    per_seed: Array
    resolution: float
    scale: ScoreScale

    @classmethod
    def of(
        cls,
        ours: Tables,
        theirs: Tables,
        known: Mapping[str, NDArray[np.bool_]],
        asked: tuple[Tables, Tables],
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
        filled = [
            np.nan_to_num(ours[name], nan=our_guess) - np.nan_to_num(theirs[name], nan=their_guess) for name in ours
        ]
        return float(np.mean([table.mean() for table in filled]))

    @property
    def num_pairs(self) -> int:
        """The number of pairs that the difference is of."""
        return int(sum(np.isfinite(table).sum() for table in self.cells.values()))

    @property
    def num_dropped(self) -> int:
        """The number of pairs that were asked for, and that an arm has no score of."""
        return sum(table.size for table in self.asked[0].values()) - self.num_pairs
