"""The sources of the noise of a gain, and the worth of more seeds, tasks or repetitions for the same cost."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from metagym.errors import ConfigError
from metagym.evaluation.report import EvaluationReport
from metagym.evaluation.scale import ScoreScale
from metagym.runs.manifest import num_learning_episodes
from metagym.runs.measurements import Role
from metagym.statistics import t_quantile
from metagym.types import Record, Text


class VarianceParts(Record):
    """The variance of the gain of one episode pair, by its sources. A part that comes out below 0 is 0."""

    seeds: float
    """Of meta-episodes: some learn more than others."""
    tasks: float
    """Of tasks: some gain more than others, whatever the seed."""
    seeds_and_tasks: float
    """Of both together: a prompt that helps on one task and not on another. Without repetitions it includes
    `sampling`."""
    sampling: float | None
    """Of the actor's own chance under one prompt on one task; None without repetitions."""


class NoiseSource(Record):
    """One source of the noise of a gain."""

    what: Text
    variance: float | None
    """Of the gain of one episode pair; None if it is not known apart."""
    share: float | None
    """Of the variance of the evaluation's gain, as a claim about new tasks; None if nothing varied."""


class Purchase(Record):
    """The gain of one way to spend the cost of the whole evaluation again."""

    what: Text
    num_seeds: int
    num_test: int
    test_repetitions: int
    num_episodes: int
    """Of one arm, in all."""
    these_tasks: float | None
    """Half the width of the 95 % interval of the gain on these tasks; None below two seeds."""
    new_tasks: float | None
    """The same for new tasks of these families."""


def variance_parts(report: EvaluationReport) -> VarianceParts:
    """Return the parts of the variance of the gain, averaged over families, by the method of moments.

    Two-way random effects: seeds and tasks are crossed, repetitions are within. Cells with a missing score are filled
    with the mean of their seed; seeds without any score are left out.

    Source: Searle, Casella & McCulloch 1992, "Variance components", ch. 4 (expected mean squares).

    Raises:
        ConfigError: there are fewer than two seeds or tasks.
    """
    found = [_parts_of(gains) for gains in _gains_of(report)]
    known = [item.sampling for item in found if item.sampling is not None]
    return VarianceParts(
        seeds=float(np.mean([item.seeds for item in found])),
        tasks=float(np.mean([item.tasks for item in found])),
        seeds_and_tasks=float(np.mean([item.seeds_and_tasks for item in found])),
        sampling=float(np.mean(known)) if known else None,
    )


def noise_sources(report: EvaluationReport) -> list[NoiseSource]:
    """Return the sources of the noise, each with its share of the variance that the mean gain has on new tasks.

    With few seeds or tasks the shares are rough.

    Raises:
        ConfigError: there are fewer than two seeds or tasks.
    """
    parts, config = variance_parts(report), report.config
    seeds, tasks = report.num_seeds, config.num_test
    together = "seeds and tasks together" + (" with the sampling of the actor" if parts.sampling is None else "")
    found = {
        "seeds (meta-episodes)": (parts.seeds, seeds),
        "tasks": (parts.tasks, tasks),
        together: (parts.seeds_and_tasks, seeds * tasks),
        "the sampling of the actor": (parts.sampling, seeds * tasks * config.test_repetitions),
    }
    total = sum((variance or 0.0) / num for variance, num in found.values())

    def share(variance: float | None, num: int) -> float | None:
        return None if variance is None or not total else variance / num / total

    return [NoiseSource(what=what, variance=item[0], share=share(*item)) for what, item in found.items()]


def noise_in_words(report: EvaluationReport) -> str:
    """Return the sources of the noise of the gain and the best purchase, in a line; empty below two seeds or tasks.

    The best purchase is the one with the narrowest expected interval.
    """
    try:
        sources, (now, *others) = noise_sources(report), what_it_buys(report)
    except ConfigError:
        return ""
    shares = [f"{round(100 * item.share)} % {item.what}" for item in sources if item.share is not None]
    if now.these_tasks is None or now.new_tasks is None:
        return ""
    if not shares:
        return "noise of the gain: every task gained the same in every seed, so nothing is known of it"
    here = min(others, key=lambda item: item.these_tasks or math.inf)
    new = min(others, key=lambda item: item.new_tasks or math.inf)
    return (
        f"noise of the gain: {'; '.join(shares)}. The same cost again is best spent on {here.what} "
        f"(±{here.these_tasks:.3f} instead of ±{now.these_tasks:.3f}); for a claim about new tasks, on {new.what} "
        f"(±{new.new_tasks:.3f} instead of ±{now.new_tasks:.3f})"
    )


def what_it_buys(report: EvaluationReport) -> list[Purchase]:
    """Return the evaluation as it is, and with its cost spent again on seeds, on test tasks, or on repetitions.

    The cost is counted in episodes. A new seed learns, chooses and is tested; a task or a repetition is only tested.
    Without repetitions in the report their worth is not known, and they are left out.
    """
    parts, config = variance_parts(report), report.config
    families, seeds, tasks, times = len(report.families), report.num_seeds, config.num_test, config.test_repetitions
    test = config.num_tested * tasks * times
    scale = report.scale
    learning = num_learning_episodes(dict(config), has_kinds=report.overall.kinds_gain is not None)
    seed = learning + (config.num_steps + 1) * config.num_validation + test
    factor = 1 + seed / test  # the tests of all seeds that the same money pays

    def purchase(what: str, num_seeds: int, num_test: int, repetitions: int) -> Purchase:
        episodes = families * num_seeds * (seed - test + config.num_tested * num_test * repetitions)
        sizes = {"num_seeds": num_seeds, "num_test": num_test, "test_repetitions": repetitions}
        widths = [_half_width(parts, scale, families, *sizes.values(), is_new=is_new) for is_new in (False, True)]
        return Purchase(what=what, **sizes, num_episodes=episodes, these_tasks=widths[0], new_tasks=widths[1])

    found = [
        purchase("as it is", seeds, tasks, times),
        purchase("more seeds", 2 * seeds, tasks, times),
        purchase("more test tasks", seeds, math.floor(tasks * factor), times),
    ]
    return (
        found
        if parts.sampling is None
        else [*found, purchase("more repetitions", seeds, tasks, math.floor(times * factor))]
    )


def _half_width(
    parts: VarianceParts, scale: ScoreScale, families: int, seeds: int, tasks: int, times: int, *, is_new: bool
) -> float | None:
    """Return half the width of the interval that `mean_interval` would give, the rule of three included."""
    if seeds < 2:
        return None
    variance = parts.seeds / seeds + parts.seeds_and_tasks / (seeds * tasks)
    variance += (parts.sampling or 0.0) / (seeds * tasks * times) + (parts.tasks / tasks if is_new else 0.0)
    unseen = 3 / seeds**2 * scale.of_one_in(families * tasks * times) ** 2
    return min(scale.width, t_quantile(0.975, seeds - 1) * math.sqrt(variance / families + unseen))


def _gains_of(report: EvaluationReport) -> list[NDArray[np.float64]]:
    """Return the gains of episode pairs in each family, shape `[num_seeds, num_tasks, num_repetitions]`.

    A seed that has no pair in one of the families is left out, as it is in the gain.
    """
    tests = {(item.family, item.seed, item.role): item.scores for item in report.tests}

    def pairs(family: str, seed: int) -> NDArray[np.float64]:
        chosen, first = (
            np.array(tests.get((family, seed, role), ()), dtype=np.float64)  # None becomes NaN
            for role in (Role.TEST_CHOSEN, Role.TEST_FIRST)
        )
        return chosen - first if chosen.shape == first.shape else np.empty(0)

    rows = [[pairs(family, seed) for family in report.families] for seed in sorted({seed for _, seed, _ in tests})]
    known = [row for row in rows if all(np.isfinite(gains).any() for gains in row)]
    families, times = list(zip(*known, strict=True)), report.config.test_repetitions
    sizes = [{gains.size for gains in seeds} for seeds in families]
    if len(known) < 2 or any(len(size) > 1 or max(size) % times or max(size) < 2 * times for size in sizes):
        raise ConfigError("Expected test scores of at least two seeds and two test tasks. Finish the evaluation first.")
    tables = [np.array(seeds).reshape(len(seeds), times, -1).transpose(0, 2, 1) for seeds in families]
    return [np.where(np.isfinite(gains), gains, np.nanmean(gains, axis=(1, 2), keepdims=True)) for gains in tables]


def _parts_of(gains: NDArray[np.float64]) -> VarianceParts:
    seeds, tasks, times = gains.shape
    cells = gains.mean(axis=2)
    by_seed, by_task = cells.mean(axis=1), cells.mean(axis=0)
    rest = cells - by_seed[:, None] - by_task[None, :] + cells.mean()
    square = float((rest**2).sum() / ((seeds - 1) * (tasks - 1)))
    sampling = float(gains.var(axis=2, ddof=1).mean()) if times > 1 else None
    return VarianceParts(
        seeds=max(0.0, float(by_seed.var(ddof=1)) - square / tasks),
        tasks=max(0.0, float(by_task.var(ddof=1)) - square / seeds),
        seeds_and_tasks=max(0.0, square - (sampling or 0.0) / times),
        sampling=sampling,
    )
