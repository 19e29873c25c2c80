"""The difficulty of tasks: contents of each role, and whether roles or meta-steps differ under one constant prompt.

If they do, a learning curve or a gain may come from the tasks. Everything here is computed from tasks and scores;
`metagym.evaluation.task_check` plays them.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from metagym.evaluation.scale import ZERO_TO_ONE, ScoreScale
from metagym.rendering import plural
from metagym.statistics import Estimate, mean_interval, together, welch_difference
from metagym.statistics.intervals import Bounds
from metagym.types import Record, Task, Text, Texts

MANY_REPEATS = 0.5
"""Share of a role's tasks that repeat a content, from which on a warning says so."""


class Contents(Record):
    """The contents among some tasks of one role, drawn as a protocol draws them."""

    num_tasks: int
    num_contents: int
    """Different contents among these tasks."""
    commonest: float
    """Share of the tasks that have the commonest content."""

    @property
    def num_repeats(self) -> int:
        """Tasks whose content came before."""
        return self.num_tasks - self.num_contents


class FamilyDifficulty(Record):
    """How hard one family is under a constant prompt, by role and by meta-step."""

    family: Text
    contents: dict[Text, Contents] = {}
    """By role."""
    scores: dict[Text, Estimate] = {}
    """Mean score by role, over tasks drawn independently."""
    role_differences: dict[Text, Estimate] = {}
    """One role minus another (`validation - test`): Welch's t over tasks; the intervals hold together."""
    by_meta_step: tuple[float | None, ...] = ()
    """Mean score of the fresh batches, by meta-step."""
    trend: Estimate | None = None
    """Change of that score from the first to the last meta-step, by a straight line through each meta-episode."""

    @property
    def warnings(self) -> Texts:
        """The reasons to doubt a result on this family; empty if nothing was found."""
        found = []
        for role, item in self.contents.items():
            if item.num_repeats > MANY_REPEATS * item.num_tasks:
                found.append(
                    f"{self.family}: the {plural(item.num_tasks, f'{role} task')} have "
                    f"{plural(item.num_contents, 'content')}, the commonest in {item.commonest:.0%} of them."
                )
        for name, difference in self.role_differences.items():
            if difference.sign:
                found.append(
                    f"{self.family}: the roles differ under one prompt, {name} {difference.mean:+.2f} "
                    f"(p {difference.adjusted_p:.4f}). A gain from one role to the other is partly this."
                )
        if self.trend is not None and self.trend.sign:
            found.append(
                f"{self.family}: the score under one constant prompt changes by {self.trend.mean:+.2f} along the "
                f"meta-steps (p {self.trend.p_value:.4f}). A learning curve is partly this."
            )
        return tuple(found)


def contents_of(tasks: Sequence[Task]) -> Contents:
    """Count the contents among the tasks."""
    counts = Counter(task.digest for task in tasks)
    commonest = max(counts.values(), default=0) / max(1, len(tasks))
    return Contents(num_tasks=len(tasks), num_contents=len(counts), commonest=commonest)


def family_difficulty(
    family: str,
    *,
    contents: Mapping[str, Contents],
    scores: Mapping[str, ArrayLike],
    by_meta_step: ArrayLike | None = None,
    resolution: float = 0.0,
    scale: ScoreScale = ZERO_TO_ONE,
) -> FamilyDifficulty:
    """Compare the roles and the meta-steps of one family.

    `scores` holds one number per task for each role, NaN for a missing one. `by_meta_step` holds the scores of fresh
    batches, of shape `[num_seeds, num_steps]`; `resolution` is the change that one episode makes to one of them.
    Intervals end at the bounds of `scale`, or at the scores seen if they are outside.

    >>> even = {"validation": [0, 1] * 10, "test": [1, 0] * 10}
    >>> family_difficulty("f", contents={}, scores=even).warnings
    ()
    >>> uneven = {"validation": [0, 1] * 10, "test": [1] * 20}
    >>> family_difficulty("f", contents={}, scores=uneven).role_differences["validation - test"].sign
    -1
    """
    samples = {role: np.asarray(values, dtype=np.float64) for role, values in scores.items()}
    samples = {role: values[np.isfinite(values)] for role, values in samples.items()}
    samples = {role: values for role, values in samples.items() if len(values) > 1}
    scale = scale.extended(score for values in samples.values() for score in values.tolist())
    of_differences = scale.of_differences
    pairs = {
        f"{one} - {other}": welch_difference(samples[one], samples[other], bounds=of_differences)
        for one, other in itertools.combinations(samples, 2)
    }
    means = {
        role: mean_interval(values, resolution=scale.width, bounds=scale.of_scores) for role, values in samples.items()
    }
    table = np.full((0, 0), np.nan) if by_meta_step is None else np.asarray(by_meta_step, dtype=np.float64)
    known = [None if np.isnan(column).all() else float(np.nanmean(column)) for column in table.T]
    return FamilyDifficulty(
        family=family,
        contents=dict(contents),
        scores={role: item for role, item in means.items() if item is not None},
        role_differences={
            name: item for name, item in together(pairs, bounds=of_differences).items() if item is not None
        },
        by_meta_step=tuple(known),
        trend=_trend(table, resolution, of_differences),
    )


def _trend(
    table: np.ndarray[tuple[int, ...], np.dtype[np.float64]], resolution: float, bounds: Bounds
) -> Estimate | None:
    """Return the rise of the least-squares line over the whole course, one number per seed."""
    if table.ndim < 2 or table.shape[1] < 2:
        return None
    place = np.linspace(-0.5, 0.5, table.shape[1])
    rises = (table - table.mean(axis=1, keepdims=True)) @ place / (place @ place)
    # One episode in the first or in the last batch changes the line most.
    steepest = float(place[place > 0].sum() / (place @ place))
    return mean_interval(
        rises,
        resolution=resolution * 0.5 / float(place @ place),
        bounds=(bounds[0] * steepest, bounds[1] * steepest),
    )
