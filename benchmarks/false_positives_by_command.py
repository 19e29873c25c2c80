"""How often each command calls equal arms different, and how often its intervals cover the truth.

The scores are drawn by the laws of `false_positives.py`, and one more: `rare`, where one meta-episode in ten finds the
trick and all others are worse than `sp_0`, so that the true gain is 0. `arena` has one fixed arm and nine equal ones;
`extend` looks after each seed from the third on.

Two ways lead to the words. The first `--through` draws of each row go through the functions that the commands call when
all episodes are played: `build_report` (evaluate, extend), `compare`, `build_standings` (arena). All draws go through
the statistics that these call in the end, which is a hundred times faster; where both ways were taken, the words must
be the same, or the benchmark stops. `gate` is always called itself, on an environment whose replay draws the scores.

    python benchmarks/false_positives_by_command.py [--comparisons 4000] [--arenas 1000] [--through 10] [--law flat]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from false_positives import LAWS, SEEDS, Law, Tables
from numpy.typing import NDArray

from metagym.env import MetaEnv
from metagym.envs.gates.env import GatesEnv
from metagym.evaluation import EvaluationConfig, EvaluationReport, compare
from metagym.evaluation.arena.standings import build_standings
from metagym.evaluation.gate import gate
from metagym.evaluation.report import build_report
from metagym.evaluation.scale import ScoreScale
from metagym.runs import Measurement, Role
from metagym.statistics import Estimate, at_any_look, mean_interval, together
from metagym.tasks import ListedTaskSet, TaskSet
from metagym.types import Task, Usage

FAMILIES: Final = ("f0", "f1")
NUM_METHODS: Final = 9
FIRST_LOOK: Final = 3
NO_USAGE: Final = Usage()
SCALE: Final = ScoreScale(0.0, 1.0)
Array = NDArray[np.float64]


def constant(rng: np.random.Generator, num_seeds: int) -> Tables:
    """Two families with the mean rate of `skewed`, the same for all seeds."""
    return [rng.random((num_seeds, 20)) < 0.18 for _ in range(2)]


class Null(NamedTuple):
    """Laws of equal mean: what a method's prompts score, and what `sp_0` and the other arms do."""

    method: Law
    other: Law
    mean: float


NULLS: Final = {name: Null(law, law, mean) for name, (law, mean) in LAWS.items()}
NULLS["rare"] = Null(LAWS["skewed"][0], constant, 0.18)


class Tally:
    """Counts of yes and no by name."""

    def __init__(self) -> None:
        self.yes, self.all = Counter[str](), Counter[str]()

    def count(self, name: str, is_so: bool) -> None:
        self.yes[name] += is_so
        self.all[name] += 1

    def share(self, name: str) -> str:
        return f"{self.yes[name] / self.all[name]:.1%}" if self.all[name] else ""


def measured(tables: Tables, role: Role) -> list[Measurement]:
    """Return scores as the measurements that an evaluation keeps."""
    about: dict[str, Any] = {"index": 0, "prompt": "p", "num_steps": 1, "num_invalid": 0, "usage": NO_USAGE}
    return [
        Measurement(
            family=family, seed=seed, role=role, scripted=False, **about,
            task_ids=tuple(f"{family}/{number}" for number in range(len(scores))),
            scores=tuple(scores.astype(float).tolist()),
        )
        for family, table in zip(FAMILIES, tables, strict=True)
        for seed, scores in enumerate(table)
    ]  # fmt: skip


def report_of(name: str, scores: dict[Role, Tables], num_seeds: int, *, looks: Sequence[int] = ()) -> EvaluationReport:
    """Return the report of an arm on its first seeds."""
    tables = {role: [table[:num_seeds] for table in found] for role, found in scores.items()}
    num_test = min(table.shape[1] for found in tables.values() for table in found)
    config = EvaluationConfig(families=FAMILIES, num_steps=1, num_seeds=num_seeds, num_validation=1, num_test=num_test)
    items = [item for role, found in tables.items() for item in measured(found, role)]
    return build_report(config, items, arm=name, looks=tuple(looks) or (num_seeds,))


def claims(verdict: str) -> bool:
    """Whether a verdict of an evaluation or a comparison names a difference."""
    first = verdict.partition(";")[0].partition(" than ")[0]  # behind it is the last prompt
    return first.endswith(("better", "worse"))


def covers(estimate: Estimate, truth: float) -> bool:
    """Whether an interval holds the truth; no interval claims nothing."""
    return estimate.low is None or estimate.high is None or estimate.low <= truth <= estimate.high


def by_seed(tables: Tables) -> Array:
    """Return the mean score of each seed, families with equal weight."""
    return np.mean([table.mean(axis=1, dtype=float) for table in tables], axis=0)


class Drawn:
    """Equal arms of some seeds: the method's chosen and first prompts, and another arm's chosen ones."""

    def __init__(self, null: Null, rng: np.random.Generator, num_seeds: int) -> None:
        self.ours = {Role.TEST_CHOSEN: null.method(rng, num_seeds), Role.TEST_FIRST: null.other(rng, num_seeds)}
        self.theirs = {Role.TEST_CHOSEN: null.other(rng, num_seeds)}
        self.num_seeds = num_seeds
        score, first, other = map(by_seed, (*self.ours.values(), *self.theirs.values()))
        self.score, self.gain, self.difference = score, score - first, score - other
        self.resolution = SCALE.resolution(*self.ours[Role.TEST_CHOSEN])

    def estimate(self, values: Array, *, num_seeds: int | None = None, is_score: bool = False) -> Estimate:
        bounds = SCALE.of_scores if is_score else SCALE.of_differences
        found = mean_interval(values[:num_seeds], resolution=self.resolution, bounds=bounds)
        assert found is not None
        return found

    def sign_at_look(self, values: Array, num_seeds: int) -> int:
        """Return the sign at a look; the first look has the plain interval."""
        found = self.estimate(values, num_seeds=num_seeds)
        return (found if num_seeds == FIRST_LOOK else at_any_look(found, bounds=SCALE.of_differences)).sign

    def words(self, num_seeds: int, looks: Sequence[int] = ()) -> tuple[bool, bool]:
        """Return whether `evaluate` and `compare` name a difference, by their own words."""
        ours, theirs = (
            report_of(name, scores, num_seeds, looks=looks) for name, scores in (("a", self.ours), ("b", self.theirs))
        )
        return claims(ours.verdict), claims(compare([ours, theirs])[0].verdict)


def simulate(null: Null, num_seeds: int, *, num_comparisons: int, num_arenas: int, num_through: int) -> Tally:
    """Draw equal arms, and count what each command says of them."""
    rng, tally = np.random.default_rng([num_seeds, num_comparisons]), Tally()
    for number in range(num_comparisons):
        drawn = Drawn(null, rng, num_seeds)
        gain, difference = drawn.estimate(drawn.gain), drawn.estimate(drawn.difference)
        tally.count("evaluate", bool(gain.sign))
        tally.count("compare", bool(difference.sign))
        tally.count("gain covered", covers(gain, 0.0))
        tally.count("difference covered", covers(difference, 0.0))
        tally.count("score covered", covers(drawn.estimate(drawn.score, is_score=True), null.mean))
        if number < num_through:
            check(drawn.words(num_seeds), (gain.sign, difference.sign))
        if number < num_arenas:
            extend(tally, drawn, is_through=number < num_through // 5)
            arena(tally, null, rng, num_seeds, is_through=number < num_through // 5)
    return tally


def extend(tally: Tally, drawn: Drawn, *, is_through: bool) -> None:
    """Look after each seed, as if `extend` had added it."""
    looks = range(FIRST_LOOK, drawn.num_seeds + 1)
    signs = [(drawn.sign_at_look(drawn.gain, look), drawn.sign_at_look(drawn.difference, look)) for look in looks]
    tally.count("extend, gain", any(gain for gain, _ in signs))
    tally.count("extend, difference", any(difference for _, difference in signs))
    if is_through:
        for look, found in zip(looks, signs, strict=True):
            check(drawn.words(look, [*range(FIRST_LOOK, look + 1)]), found)


def arena(tally: Tally, null: Null, rng: np.random.Generator, num_seeds: int, *, is_through: bool) -> None:
    """Let equal methods meet a fixed one."""
    methods = {f"m{number}": null.method(rng, num_seeds) for number in range(NUM_METHODS)}
    tables = {"fixed": null.other(rng, num_seeds), **methods}
    scores = {name: by_seed(table) for name, table in tables.items()}
    resolution = SCALE.resolution(*tables["fixed"])
    alone = {
        name: mean_interval(scores["fixed"] - scores[name], resolution=resolution, bounds=SCALE.of_differences)
        for name in methods
    }
    against = [item for item in together(alone, bounds=SCALE.of_differences).values() if item is not None]
    tally.count("arena", any(item.sign for item in against))
    tally.count("arena covered", all(covers(item, 0.0) for item in against))
    if is_through:
        reports = [report_of(name, {Role.TEST_LAST: table}, num_seeds) for name, table in tables.items()]
        rows = build_standings(reports, "place", baseline="fixed").rows
        shown = [row.against_baseline.sign for row in rows if row.against_baseline is not None]
        check([any(shown)], [any(item.sign for item in against)])


def check(words: Sequence[Any], statistics: Sequence[Any]) -> None:
    """Stop if a command says other than the statistics."""
    if list(map(bool, words)) != list(map(bool, statistics)):
        raise AssertionError(f"A command says {words}, and the statistics {statistics}.")


class Replayed(NamedTuple):
    """What a gate reads of a meta-step."""

    scores: list[float]
    scripted: bool
    trajectories: tuple[()] = ()


class DrawnScores(MetaEnv):
    """An environment whose replay draws the scores of two prompts of equal mean."""

    default_prompt = "p"
    draw: Callable[[int], tuple[list[float], list[float]]]

    def make_inner_env(self) -> GatesEnv:
        return GatesEnv()

    def make_task_set(self) -> TaskSet:
        return ListedTaskSet(
            Task(id=f"{family}/{number}", family=family, split="test", seed=number)
            for family in FAMILIES
            for number in range(60)
        )

    def replay(self, prompts: Any, task_ids: Sequence[str], *, repetitions: int = 1) -> Any:
        return tuple(Replayed(scores, False) for scores in self.draw(len(task_ids)))


def simulate_gate(null: Null, num_tasks: int, num_comparisons: int) -> Tally:
    """Draw the scores of two prompts task by task, and count the decisions."""
    rng, tally = np.random.default_rng([num_tasks, num_comparisons]), Tally()

    def column(law: Law, num: int) -> list[float]:
        return [float(score) for table in law(rng, num // 2) for score in table[:, 0]]

    with DrawnScores("random") as env:
        env.draw = lambda num: (column(null.other, num), column(null.method, num))
        for _ in range(num_comparisons):
            found = gate(env, "old", "new", num_episodes=2 * num_tasks)
            tally.count("gate", found.decision.value != "cannot tell")
            tally.count("gate covered", covers(found.difference, 0.0))
    return tally


COLUMNS: Final = (
    "evaluate", "gain covered", "score covered", "compare", "difference covered", "extend, gain", "extend, difference",
    "arena", "arena covered",
)  # fmt: skip


def print_table(title: str, columns: Sequence[str], found: Iterator[tuple[str, Tally]]) -> None:
    print(f"| law | {title} | " + " | ".join(columns) + " |")
    print("| --- " * (len(columns) + 2) + "|")
    for name, tally in found:
        print(f"| {name} | " + " | ".join(map(tally.share, columns)) + " |", flush=True)
        print(f"{name}: {time.process_time():.0f} s CPU so far", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--comparisons", type=int, default=4_000)
    parser.add_argument("--arenas", type=int, default=1_000, help="arenas, extended evaluations, and gates")
    parser.add_argument("--through", type=int, default=10, help="draws that go through the commands' own functions")
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS)
    parser.add_argument("--tasks", type=int, nargs="*", default=(10, 20, 50, 100), help="of a gate")
    parser.add_argument("--law", choices=list(NULLS), action="append", help="by default all")
    arguments = parser.parse_args()
    names = arguments.law or list(NULLS)
    sizes = {"num_comparisons": arguments.comparisons, "num_arenas": arguments.arenas, "num_through": arguments.through}
    tallies = ((f"{name} | {num}", simulate(NULLS[name], num, **sizes)) for name in names for num in arguments.seeds)
    print_table("seeds", COLUMNS, tallies)
    gates = (
        (f"{name} | {num}", simulate_gate(NULLS[name], num, arguments.arenas))
        for name in names
        for num in arguments.tasks
    )
    print_table("tasks", ("gate", "gate covered"), gates)


if __name__ == "__main__":
    main()
