"""Transfer: the prompts that evaluations chose are scored in another family or environment, or with another actor.

Nothing is learned or chosen here. A gain is over the `sp_0` of the target, on test tasks, which chose nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from metagym.env import MetaEnv, meta_env_of
from metagym.errors import ConfigError, TasksExhaustedError
from metagym.evaluation.report import SCRIPTED_NOTE, EvaluationReport
from metagym.evaluation.scale import ScoreScale
from metagym.evaluation.scoring import notes_of_failures, raising_stops
from metagym.optional_attributes import extension_of
from metagym.statistics import Estimate, finite_mean, macro_average, mean_interval, together
from metagym.statistics.intervals import ALPHA
from metagym.types import Record, Task, Text, Texts, derive_seed


class TransferMatrix(Record):
    """Gains over `sp_0`: a row is the place in which a prompt was learned, a column the place in which it is scored."""

    sources: Texts
    targets: Texts
    gains: tuple[tuple[Estimate | None, ...], ...]
    """Entry `[source][target]`, over the seeds of the source's evaluation. All intervals hold together."""
    scripted: bool
    notes: Texts = ()


def transfer_matrix(
    sources: Mapping[str, EvaluationReport],
    targets: Mapping[str, gymnasium.Env[Any, Any]],
    *,
    families: Sequence[str] | None = None,
    num_test: int = 50,
    task_seed: int = 0,
) -> TransferMatrix:
    """Score the chosen prompts of each evaluation in each target, and return the gains over `sp_0` there.

    A source named `"A"` with the families f and g gives the rows `A: f` and `A: g`. A target gives a column for each
    family that it was made with, or for those of `families` that it has. Two actors over one environment give
    "learned with A, scored with B"; one environment gives the matrix of its families.
    """
    if not sources or not targets:
        raise ConfigError(f"Expected an evaluation and an environment at least, got {len(sources)} and {len(targets)}.")
    rows = {
        f"{name}: {family}": [item.chosen_prompt for item in report.prompts if item.family == family]
        for name, report in sources.items()
        for family in report.families
    }
    columns: dict[str, list[Estimate | None]] = {}
    declared = _declared_scale(list(sources.values()))
    width, notes = 0.0, list[str]()
    scripted = any(report.scripted for report in sources.values())
    drawn: dict[str, dict[str, tuple[Task, ...]]] = {}
    for name, env in targets.items():  # all of them, before anything is played
        own = meta_env_of(env).families
        wanted = own if families is None else [item for item in families if item in own]
        drawn[name] = draw_test_tasks(meta_env_of(env), num_test=num_test, task_seed=task_seed, families=wanted)
    for name, env in targets.items():
        meta_env = meta_env_of(env)
        scripted = scripted or extension_of(meta_env.actor).scripted
        for family, tasks in drawn[name].items():
            gains, scale, failures = _gains(meta_env, list(rows.values()), tasks, declared)
            notes += failures
            resolution, bounds, width = scale.of_one_in(len(tasks)), scale.of_differences, max(width, scale.width)
            columns[f"{name}: {family}"] = [mean_interval(row, resolution=resolution, bounds=bounds) for row in gains]
    estimates = {(row, name): column[row] for name, column in columns.items() for row in range(len(rows))}
    cells = together(estimates, bounds=(-width, width))
    return TransferMatrix(
        sources=tuple(rows),
        targets=tuple(columns),
        gains=tuple(tuple(cells[row, name] for name in columns) for row in range(len(rows))),
        scripted=scripted,
        notes=(*notes, *((SCRIPTED_NOTE,) if scripted else ())),
    )


class WorldTransfer(Record):
    """The arms of one evaluation, scored in another world: the method and its controls."""

    learned_in: Texts
    """The families of the evaluation."""
    scored_in: Texts
    """The families of the other world. Their test tasks are the same for all arms and seeds."""
    gains: dict[Text, Estimate | None]
    """By arm: its chosen prompts over the `sp_0` of the other world; one number a seed, families of equal weight."""
    differences: dict[Text, Estimate | None]
    """By control: the gain of the method minus that of the control, paired by seed."""
    verdict: Text
    scripted: bool
    notes: Texts = ()


def transfer_to(
    reports: Sequence[EvaluationReport], env: gymnasium.Env[Any, Any], *, num_test: int = 50, task_seed: int = 0
) -> WorldTransfer:
    """Score the chosen prompts of an evaluation's arms, the method's first, in another world.

    The gains have intervals that hold together, and so have the differences from the controls. A seed that lacks the
    prompt of a family (an unfinished arm) is left out.
    """
    meta_env, method = meta_env_of(env), reports[0]
    arms = {report.arm: [item.chosen_prompt for item in report.prompts] for report in reports}
    if len(arms) < len(reports) or any(report.config.seeds != method.config.seeds for report in reports):
        raise ConfigError(f"Expected arms of different names with equal seeds, got {[item.arm for item in reports]}.")
    gains: dict[str, list[npt.NDArray[np.float64]]] = {arm: [] for arm in arms}
    scales, notes = [], list[str]()
    for tasks in draw_test_tasks(meta_env, num_test=num_test, task_seed=task_seed).values():
        rows, scale, failures = _gains(meta_env, list(arms.values()), tasks, _declared_scale(reports))
        scales.append(scale)
        notes += failures
        for report, row in zip(reports, rows, strict=True):
            gains[report.arm].append(_by_seed(method, report, row))
    means = {arm: macro_average(by_family) for arm, by_family in gains.items()}
    widest = ScoreScale.joint(scales)
    resolution = widest.of_one_in(num_test * len(method.families) * len(meta_env.families))
    of_gains, of_pairs = widest.of_differences, (-2 * widest.width, 2 * widest.width)
    own, *controls = means
    pairs = {arm: mean_interval(means[own] - means[arm], resolution=resolution, bounds=of_pairs) for arm in controls}
    differences = together(pairs, bounds=of_pairs)
    scripted = any(report.scripted for report in reports) or extension_of(meta_env.actor).scripted
    firsts = {arm: mean_interval(mean, resolution=resolution, bounds=of_gains) for arm, mean in means.items()}
    over_first = together(firsts, bounds=of_gains)
    nulls = {report.arm: differences[report.arm] for report in reports[1:] if report.kind != "same again"}
    return WorldTransfer(
        learned_in=tuple(method.families),
        scored_in=meta_env.families,
        gains=over_first,
        differences=differences,
        verdict=_verdict(own, over_first[own], nulls),
        scripted=scripted,
        notes=(*notes, *((SCRIPTED_NOTE,) if scripted else ())),
    )


def _verdict(arm: str, gain: Estimate | None, against: Mapping[str, Estimate | None]) -> str:
    """Return the verdict in words; `against` holds the differences from the controls that learned nothing."""
    if gain is None or gain.adjusted_p is None:
        return "too few seeds to say whether anything carries over."
    if not _is_shown(gain):
        return f"it is not shown that what {arm} learned carries over, to the better or to the worse."
    if gain.mean < 0:
        return f"what {arm} learned harms in the other world, by {gain.mean:+.2f}."
    if equal := [name for name, item in against.items() if item is None or item.mean <= 0 or not _is_shown(item)]:
        return (
            f"the prompts of {arm} gain {gain.mean:+.2f} there, but it is not shown to be more than {equal[0]} gains."
        )
    return f"what {arm} learned helps in the other world, by {gain.mean:+.2f}."


def _is_shown(estimate: Estimate) -> bool:
    return estimate.adjusted_p is not None and estimate.adjusted_p < ALPHA


def draw_test_tasks(
    env: MetaEnv, *, num_test: int, task_seed: int = 0, families: Sequence[str] | None = None
) -> dict[str, tuple[Task, ...]]:
    """Return the tasks of each family that prompts from elsewhere are scored on. Nothing is played.

    Raises:
        TasksExhaustedError: a family has too few test tasks.
    """
    drawn = {}
    for family in env.families if families is None else families:
        rng = np.random.default_rng(derive_seed("transfer", task_seed, family))
        try:
            drawn[family] = env.task_set.draw(num_test, rng=rng, families=[family], split="test")
        except TasksExhaustedError as error:
            found = "" if error.num_left is None else f", and there are {error.num_left}"
            raise TasksExhaustedError(
                f"Family {family!r} has too few test tasks to score prompts on: {num_test} are asked for{found}. Lower "
                "num_test (on the command line: --option num_test=N)."
            ) from error
    return drawn


def _gains(
    env: MetaEnv, rows: Sequence[Sequence[str]], tasks: Sequence[Task], declared: ScoreScale
) -> tuple[list[npt.NDArray[np.float64]], ScoreScale, list[str]]:
    """Return the gain of each prompt of each row over `sp_0`, the `declared` scale up to the scores seen, and notes.

    `sp_0` is played again for each prompt, so that gains do not share its noise.
    """
    flat = [prompt for prompts in rows for prompt in prompts]
    if not flat:
        raise ConfigError(
            "Expected a finished meta-episode in one of the evaluations: there is no prompt to score yet."
        )
    ids = [task.id for task in tasks]
    with raising_stops(env):
        played = env.replay([*flat, *[env.default_prompt] * len(flat)], ids)
    failures = notes_of_failures([trajectory for step in played for trajectory in step.trajectories])
    scores = np.array([item.scores for item in played], dtype=np.float64)  # None becomes NaN
    means = finite_mean(scores[: len(flat)] - scores[len(flat) :])
    ends = np.cumsum([len(prompts) for prompts in rows])
    return np.split(means, ends[:-1]), declared.extended(scores.flat), failures


def _by_seed(
    method: EvaluationReport, report: EvaluationReport, gains: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return one gain for each seed of the method, families with equal weight; NaN if a prompt is missing."""
    found = {(item.family, item.seed): gain for item, gain in zip(report.prompts, gains, strict=True)}
    return macro_average(
        [[found.get((family, seed), math.nan) for seed in method.config.seeds] for family in method.families]
    )


def _declared_scale(reports: Sequence[EvaluationReport]) -> ScoreScale:
    return ScoreScale.joint(ScoreScale(*report.config.score_range) for report in reports)
