"""How often a comparison of an arm with itself says "different", and how often an interval covers the truth.

First, synthetic laws: `flat` scores around .5; `floor`, two successes in a hundred, so that ties abound; `unequal`
families (10 tasks at .9, 40 at .05); `skewed`, where one meta-episode in ten finds the trick. Both arms of a
comparison, all ten of an arena, follow the same law. `--looks-only` looks at such comparisons after every seed, and at
the most skewed difference of mean 0.

Then a pool of real meta-episodes, played by the stochastic demo actor (`slip`): `--pool` meta-episodes of the demo
reflector, each with the prompt that validation chose, and every chosen prompt played `--repetitions` times on each
test task. A simulated comparison draws, for each arm and
seed, a meta-episode of the pool and one episode per test task: what `evaluate` would have measured, at a
thousandth of the cost. As both arms draw from one pool, the true difference is 0; the true gain of an arm over
sp_0 is the pool's mean.

    python benchmarks/false_positives.py [--comparisons 4000] [--laws-only | --looks-only] [--pool 60]
        [--repetitions 200]
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from metagym.envs.gates.demo import GatesDemoActor, GatesDemoReflector
from metagym.envs.gates.meta import GatesMetaEnv
from metagym.evaluation import EvaluationConfig, evaluate
from metagym.evaluation.scale import ScoreScale
from metagym.statistics import (
    Estimate,
    at_any_look,
    at_any_look_bounded,
    equivalence_p,
    mean_interval,
    together,
    two_way_bootstrap,
)

FAMILIES = ("law-0007", "law-0500")
NUM_TEST = 20
SEEDS: Final = (3, 5, 10, 30)
SCALE: Final = ScoreScale(0.0, 1.0)
Tables = list[np.ndarray[Any, Any]]
"""Test scores, per family of shape `[num_seeds, num_tasks]`."""
Law = Callable[[np.random.Generator, int], Tables]
Draw = Callable[[np.random.Generator, int], np.ndarray[Any, Any]]
"""Differences of two equal arms, one for each seed."""


def flat(rng: np.random.Generator, num_seeds: int) -> Tables:
    """Two families; each seed's prompt succeeds at a rate around .5."""
    return [rng.random((num_seeds, 20)) < rng.normal(0.5, 0.1, (num_seeds, 1)) for _ in range(2)]


def floor(rng: np.random.Generator, num_seeds: int) -> Tables:
    """Two families with a success in fifty."""
    return [rng.random((num_seeds, 20)) < 0.02 for _ in range(2)]


def unequal(rng: np.random.Generator, num_seeds: int) -> Tables:
    """An easy family with few tasks, and a hard one with many."""
    return [rng.random((num_seeds, 10)) < 0.9, rng.random((num_seeds, 40)) < 0.05]


def skewed(rng: np.random.Generator, num_seeds: int) -> Tables:
    """Two families; in each, one meta-episode in ten finds the trick."""
    return [rng.random((num_seeds, 20)) < np.where(rng.random((num_seeds, 1)) < 0.1, 0.9, 0.1) for _ in range(2)]


LAWS: Final[dict[str, tuple[Law, float]]] = {
    "flat": (flat, 0.5), "floor": (floor, 0.02), "unequal": (unequal, 0.475), "skewed": (skewed, 0.18),
}  # fmt: skip
"""Each law with its true mean."""


def difference_of(ours: Tables, theirs: Tables) -> Estimate:
    """Return the paired difference, as `compare` computes it."""
    cells = [np.asarray(a, dtype=float) - b for a, b in zip(ours, theirs, strict=True)]
    per_seed = np.mean([table.mean(axis=1) for table in cells], axis=0)
    estimate = mean_interval(per_seed, resolution=SCALE.resolution(*cells), bounds=SCALE.of_differences)
    assert estimate is not None
    return estimate


def table_shows(arms: Sequence[Tables]) -> bool:
    """Whether a table of the first arm against each other one shows any difference."""
    found = together({number: difference_of(arms[0], arm) for number, arm in enumerate(arms[1:])})
    return any(item is not None and item.sign for item in found.values())


def simulate_law(law: Law, mean: float, num_seeds: int, num_comparisons: int) -> dict[str, float]:
    """Return shares: comparisons and tables of six and of ten arms that show a difference; intervals that cover."""
    rng = np.random.default_rng([num_seeds, num_comparisons])
    counts = dict.fromkeys(("A/A", "six arms", "ten arms", "ten arms, unadjusted", "covered"), 0)
    for _ in range(num_comparisons):
        arms = [law(rng, num_seeds) for _ in range(10)]
        alone = [difference_of(arms[0], arm) for arm in arms[1:]]
        counts["A/A"] += bool(alone[0].sign)
        counts["ten arms, unadjusted"] += any(item.sign for item in alone)
        counts["six arms"] += table_shows(arms[:6])
        counts["ten arms"] += table_shows(arms)
        scores = [np.mean([np.asarray(table, dtype=float).mean(axis=1) for table in arm], axis=0) for arm in arms]
        score = mean_interval(scores[0], resolution=SCALE.resolution(*arms[0]), bounds=SCALE.of_scores)
        assert score is not None
        assert score.low is not None
        assert score.high is not None
        counts["covered"] += score.low <= mean <= score.high
    return {name: count / num_comparisons for name, count in counts.items()}


def differences_of(law: Law, rng: np.random.Generator, num_seeds: int) -> np.ndarray[Any, Any]:
    """Return the per-seed differences of two arms of the same law."""
    ours, theirs = law(rng, num_seeds), law(rng, num_seeds)
    return np.mean([(np.asarray(a, float) - b).mean(axis=1) for a, b in zip(ours, theirs, strict=True)], axis=0)


def lopsided(rng: np.random.Generator, num_seeds: int) -> np.ndarray[Any, Any]:
    """Return per-seed differences of mean 0: seven of eight lose .1, one gains .7."""
    return np.where(rng.random(num_seeds) < 0.125, 0.7, -0.1)


def simulate_looks(draw: Draw, num_comparisons: int) -> dict[str, tuple[float, list[float]]]:
    """Look after each seed, from the third to the thirtieth, by three intervals.

    Returns for each the share of comparisons that any look called different, and half the mean width at `SEEDS`.
    """
    rng, bounds = np.random.default_rng(num_comparisons), SCALE.of_differences
    wrong = dict.fromkeys(("fixed", "any look", "any look, bounded"), 0)
    widths = {name: dict.fromkeys(SEEDS, 0.0) for name in wrong}
    for _ in range(num_comparisons):
        values, seen = draw(rng, max(SEEDS)), dict.fromkeys(wrong, False)
        for num in range(3, max(SEEDS) + 1):
            fixed = mean_interval(values[:num], resolution=1 / 40, bounds=bounds)
            assert fixed is not None
            bounded = at_any_look_bounded(values[:num], bounds=bounds)
            for name, item in zip(wrong, (fixed, at_any_look(fixed, bounds=bounds), bounded), strict=True):
                assert item is not None
                assert item.low is not None
                assert item.high is not None
                seen[name] |= bool(item.sign)
                if num in SEEDS:
                    widths[name][num] += (item.high - item.low) / 2 / num_comparisons
        wrong = {name: wrong[name] + seen[name] for name in wrong}
    return {name: (count / num_comparisons, list(widths[name].values())) for name, count in wrong.items()}


def print_looks(num_comparisons: int) -> None:
    """Print what looks after each seed do to equal arms of each law."""
    print(f"{'law':>8} {'interval':>18} {'different':>10}   half its width at {', '.join(map(str, SEEDS))} seeds")
    draws: dict[str, Draw] = {name: functools.partial(differences_of, law) for name, (law, _) in LAWS.items()}
    for name, draw in {**draws, "lopsided": lopsided}.items():
        for interval, (share, halves) in simulate_looks(draw, num_comparisons).items():
            print(f"{name:>8} {interval:>18} {share:>10.4f}   {' '.join(f'{half:.3f}' for half in halves)}", flush=True)


def simulate_equivalence(num_seeds: int, num_comparisons: int) -> float:
    """Return the largest share of arms that differ by the margin and are called equal, over rates and margins."""
    rng, worst = np.random.default_rng(num_seeds), 0.0
    for rate in (0.0, 0.01, 0.05, 0.3):
        for margin in (0.01, 0.03, 0.1, 0.2):
            ours, theirs = (rng.binomial(20, p, (num_comparisons, num_seeds)) / 20 for p in (rate + margin, rate))
            found = [equivalence_p(row, margin, resolution=1 / 20) for row in ours - theirs]
            worst = max(worst, float(np.mean(np.array(found) < 0.05)))
    return worst


class Pool:
    """Chosen prompts of real meta-episodes, and how often each wins each test task: shape `[prompts, tasks]`."""

    def __init__(self, num_seeds: int, repetitions: int, slip: float) -> None:
        # Three meta-steps leave the prompts unfinished, so that meta-episodes differ, as they do with models.
        config = EvaluationConfig(
            families=FAMILIES, num_steps=3, num_seeds=num_seeds, num_validation=12, num_test=NUM_TEST, replay=False
        )
        with GatesMetaEnv(GatesDemoActor(slip=slip)) as env:
            report = evaluate(env, GatesDemoReflector(), config=config, arm="pool")
            self.chosen, self.first = [], []
            for family in FAMILIES:
                prompts = [item.chosen_prompt for item in report.prompts if item.family == family]
                tasks = next(item.task_ids for item in report.tests if item.family == family)
                distinct = list(dict.fromkeys([env.default_prompt, *prompts]))
                played = env.replay(distinct, tasks, repetitions=repetitions)
                rates = [np.array(step.scores, dtype=float).reshape(len(tasks), repetitions).mean(1) for step in played]
                self.first.append(rates[0])
                self.chosen.append(np.array([rates[distinct.index(prompt)] for prompt in prompts]))

    def sample(self, rng: np.random.Generator, num_seeds: int) -> list[np.ndarray[Any, Any]]:
        """Return one arm's test scores, per family of shape `[num_seeds, NUM_TEST]`."""
        return [
            (rng.random((num_seeds, NUM_TEST)) < rates[rng.integers(len(rates), size=num_seeds)]).astype(float)
            for rates in self.chosen
        ]

    def sample_first(self, rng: np.random.Generator, num_seeds: int) -> list[np.ndarray[Any, Any]]:
        """Return scores of sp_0 from new episodes."""
        return [(rng.random((num_seeds, NUM_TEST)) < rates).astype(float) for rates in self.first]

    @property
    def true_gain(self) -> float:
        """The mean gain over sp_0 that all draws have."""
        return float(
            np.mean([chosen.mean() - first.mean() for chosen, first in zip(self.chosen, self.first, strict=True)])
        )


def simulate(pool: Pool, num_seeds: int, num_comparisons: int, *, bootstrap: bool = False) -> dict[str, float]:
    """Return the shares of false positives and of intervals that cover the truth."""
    rng = np.random.default_rng(num_seeds)
    positives = covered = boot_positives = 0
    for _ in range(num_comparisons):
        ours, theirs = pool.sample(rng, num_seeds), pool.sample(rng, num_seeds)
        difference = mean_interval(np.mean([(a - b).mean(1) for a, b in zip(ours, theirs, strict=True)], axis=0))
        first = pool.sample_first(rng, num_seeds)
        gain = mean_interval(np.mean([(a - b).mean(1) for a, b in zip(ours, first, strict=True)], axis=0))
        assert difference is not None
        assert gain is not None
        positives += difference.p_value is not None and difference.p_value < 0.05
        covered += gain.low is not None and gain.high is not None and gain.low <= pool.true_gain <= gain.high
        if bootstrap:
            cells = [a - b for a, b in zip(ours, theirs, strict=True)]
            estimate = two_way_bootstrap(cells, rng=rng, num_resamples=400)
            boot_positives += (
                estimate is not None and estimate.low is not None and not estimate.low <= 0 <= (estimate.high or 0)
            )
    found = {"false positives": positives / num_comparisons, "coverage": covered / num_comparisons}
    return {**found, "two-way bootstrap": boot_positives / num_comparisons} if bootstrap else found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--comparisons", type=int, default=4_000)
    parser.add_argument("--laws-only", action="store_true", help="no pool of real meta-episodes")
    parser.add_argument("--looks-only", action="store_true", help="looks after each seed, and nothing else")
    parser.add_argument("--pool", type=int, default=60)
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--slip", type=float, default=0.15)
    arguments = parser.parse_args()
    if arguments.looks_only:
        print_looks(arguments.comparisons)
        return
    names = ("A/A", "six arms", "ten arms", "ten arms, unadjusted", "covered")
    print(f"{'law':>8} {'seeds':>6} " + " ".join(f"{name:>20}" for name in names))
    for name, (law, mean) in LAWS.items():
        for num_seeds in SEEDS:
            found = simulate_law(law, mean, num_seeds, arguments.comparisons)
            print(f"{name:>8} {num_seeds:>6} " + " ".join(f"{found[key]:>20.4f}" for key in names), flush=True)
    for num_seeds in (2, *SEEDS):
        worst = simulate_equivalence(num_seeds, arguments.comparisons)
        print(f"called equal, {num_seeds} seeds of 20 tasks, arms that differ by the margin: at most {worst:.4f}")
    if arguments.laws_only:
        return
    start = time.perf_counter()
    pool = Pool(arguments.pool, arguments.repetitions, arguments.slip)
    print(f"pool: {arguments.pool} meta-episodes a family, true gain {pool.true_gain:+.3f}", end="")
    print(f" ({time.perf_counter() - start:.0f} s). SCRIPTED: a script played.")
    print(f"{'seeds':>6} {'A/A below 0.05':>15} {'95 % coverage':>14} {'two-way excludes 0':>19}")
    for num_seeds in SEEDS:
        found = simulate(pool, num_seeds, arguments.comparisons, bootstrap=True)
        print(
            f"{num_seeds:>6} {found['false positives']:>15.4f} {found['coverage']:>14.4f} "
            f"{found['two-way bootstrap']:>19.4f}"
        )


if __name__ == "__main__":
    main()
