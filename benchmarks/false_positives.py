"""How often a comparison of an arm with itself says "different", and how often an interval covers the truth.

The stochastic demo actor (`slip`) plays; the pool of real meta-episodes and of real test episodes is made
first: `--pool` meta-episodes of the demo reflector, each with the prompt that validation chose, and every
chosen prompt played `--repetitions` times on each test task. A simulated comparison draws, for each arm and
seed, a meta-episode of the pool and one episode per test task: what `evaluate` would have measured, at a
thousandth of the cost. As both arms draw from one pool, the true difference is 0; the true gain of an arm over
sp_0 is the pool's mean.

    python benchmarks/false_positives.py [--comparisons 4000] [--pool 60] [--repetitions 200]
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from metagym.envs.gates.demo import GatesDemoActor, GatesDemoReflector
from metagym.envs.gates.meta import GatesMetaEnv
from metagym.evaluation import EvaluationConfig, evaluate
from metagym.statistics import mean_interval, two_way_bootstrap

FAMILIES = ("law-0007", "law-0500")
NUM_TEST = 20


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
            boot_positives += estimate is not None and estimate.excludes_zero
    found = {"false positives": positives / num_comparisons, "coverage": covered / num_comparisons}
    return {**found, "two-way bootstrap": boot_positives / num_comparisons} if bootstrap else found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--comparisons", type=int, default=4_000)
    parser.add_argument("--pool", type=int, default=60)
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--slip", type=float, default=0.15)
    arguments = parser.parse_args()
    start = time.perf_counter()
    pool = Pool(arguments.pool, arguments.repetitions, arguments.slip)
    print(f"pool: {arguments.pool} meta-episodes a family, true gain {pool.true_gain:+.3f}", end="")
    print(f" ({time.perf_counter() - start:.0f} s). SCRIPTED: a stand-in played.")
    print(f"{'seeds':>6} {'A/A below 0.05':>15} {'95 % coverage':>14} {'two-way excludes 0':>19}")
    for num_seeds in (3, 5, 10, 30):
        found = simulate(pool, num_seeds, arguments.comparisons, bootstrap=True)
        print(
            f"{num_seeds:>6} {found['false positives']:>15.4f} {found['coverage']:>14.4f} "
            f"{found['two-way bootstrap']:>19.4f}"
        )


if __name__ == "__main__":
    main()
