"""Transfer: the prompts that evaluations chose are scored in another family or environment, or with another actor.

Nothing is learned or chosen here. Each cell is the gain over the `sp_0` of the target, on tasks that chose nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np

from metagym.env import MetaEnv, meta_env_of
from metagym.errors import ConfigError
from metagym.evaluation.report import SCRIPTED_NOTE, EvaluationReport
from metagym.optional_attributes import extension_of
from metagym.statistics import Estimate, finite_mean, mean_interval, together
from metagym.types import Record, Task, Texts, derive_seed


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
    scripted = any(report.scripted for report in sources.values())
    for name, env in targets.items():
        meta_env = meta_env_of(env)
        wanted = meta_env.families if families is None else [item for item in families if item in meta_env.families]
        scripted = scripted or extension_of(meta_env.actor).scripted
        for family in wanted:
            rng = np.random.default_rng(derive_seed("transfer", task_seed, family))
            tasks = meta_env.task_set.draw(num_test, rng=rng, families=[family], split="test")
            columns[f"{name}: {family}"] = _gains(meta_env, list(rows.values()), tasks)
    cells = together({(row, name): column[row] for name, column in columns.items() for row in range(len(rows))})
    return TransferMatrix(
        sources=tuple(rows),
        targets=tuple(columns),
        gains=tuple(tuple(cells[row, name] for name in columns) for row in range(len(rows))),
        scripted=scripted,
        notes=(SCRIPTED_NOTE,) if scripted else (),
    )


def _gains(env: MetaEnv, rows: Sequence[Sequence[str]], tasks: Sequence[Task]) -> list[Estimate | None]:
    """Return the gain of each row's prompts, one a seed, over `sp_0`, which is played again for each of them."""
    flat = [prompt for prompts in rows for prompt in prompts]
    ids = [task.id for task in tasks]
    played = env.replay([*flat, *[env.default_prompt] * len(flat)], ids)
    scores = np.array([item.scores for item in played], dtype=np.float64)  # None becomes NaN
    means = finite_mean(scores[: len(flat)] - scores[len(flat) :])
    ends = np.cumsum([len(prompts) for prompts in rows])
    resolution = float(np.ptp([0.0, 1.0, *scores[np.isfinite(scores)]])) / len(ids)
    return [mean_interval(part, resolution=resolution) for part in np.split(means, ends[:-1])]
