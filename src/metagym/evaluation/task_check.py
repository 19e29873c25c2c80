"""Play one actor under `sp_0`, by role and by meta-step, to see whether tasks are equally hard everywhere."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np

from metagym.env import MetaEnv, meta_env_of
from metagym.errors import InfrastructureError, TasksExhaustedError
from metagym.evaluation.difficulty import Contents, FamilyDifficulty, contents_of, family_difficulty
from metagym.evaluation.scale import ZERO_TO_ONE
from metagym.evaluation.scoring import notes_of_failures, raising_stops
from metagym.meta_episode import TaskQueue, episodes_on
from metagym.rendering import plural
from metagym.statistics import finite_mean
from metagym.tasks import ROLES
from metagym.types import Record, Task, Text, Texts, Trajectory, derive_seed


class TaskCheck(Record):
    """The difficulty of each family, for one actor."""

    actor: Text
    scripted: bool
    families: tuple[FamilyDifficulty, ...]
    notes: Texts = ()
    """Roles that a family lacks, and failed episodes."""
    equal_scores: Texts = ()
    """Families in which all episodes have one score, so that no difference can be seen with this actor."""

    @property
    def warnings(self) -> Texts:
        """All that makes results on these families doubtful."""
        return (*self.notes, *(warning for family in self.families for warning in family.warnings))


def check_tasks(
    env: gymnasium.Env[Any, Any],
    *,
    num_tasks: int = 100,
    num_seeds: int = 10,
    num_steps: int = 10,
    seed: int = 0,
    on_family: Callable[[str], Any] | None = None,
) -> TaskCheck:
    """Play tasks of each role, and `num_seeds` meta-episodes of `num_steps` batches, under the first prompt.

    `num_tasks` of each role are played, or all that it has. The environment's families are checked one by one. The
    prompt never changes, so the scores of the roles, and of the meta-steps, differ by chance and by their tasks only.

    >>> import metagym
    >>> with metagym.make("MetaGym/Gates-v0", num_steps=10, actor="random", families=["law-0007"]) as env:
    ...     found = check_tasks(env, num_tasks=20, num_seeds=3, num_steps=4)
    >>> found.families[0].contents["test"].num_contents, found.warnings
    (20, ())
    """
    meta_env = meta_env_of(env)
    families, notes, equal_scores, scripted = [], [], [], False
    for family in meta_env.families:
        if on_family is not None:
            on_family(family)
        contents: dict[str, Contents] = {}
        scores: dict[str, list[float]] = {}
        played: list[Trajectory] = []
        for role in ROLES:
            tasks = _drawn(meta_env, family, role, num_tasks, seed)
            if len(tasks) < 2:
                notes.append(f"{family} has {plural(len(tasks), f'{role} task')}: too few to compare the roles.")
                continue
            contents[role] = contents_of(tasks)
            played += (tried := _play(meta_env, tasks, f"{role} {seed}"))
            scores[role] = [np.nan if item.score is None else item.score for item in tried]
        batches = _meta_episodes(meta_env, family, num_seeds, num_steps, seed) if "train" in contents else None
        played += itertools.chain.from_iterable(batches or [])
        table = None if batches is None else [_means(batch, num_steps) for batch in batches]
        scripted |= any(item.scripted for item in played)
        notes += notes_of_failures(played, f"{family}: ")
        known = np.concatenate([*scores.values(), np.ravel(table or [])])
        scale = ZERO_TO_ONE.extended(known.tolist())
        found = family_difficulty(
            family,
            contents=contents,
            scores=scores,
            by_meta_step=table,
            resolution=scale.of_one_in(meta_env.config.episodes_per_step),
            scale=scale,
        )
        families.append(found)
        if len(set(known[np.isfinite(known)])) == 1:
            equal_scores.append(family)
    about = {"notes": tuple(notes), "equal_scores": tuple(equal_scores)}
    return TaskCheck(actor=type(meta_env.actor).__name__, scripted=scripted, families=tuple(families), **about)


def _drawn(env: MetaEnv, family: str, role: str, num_tasks: int, seed: int) -> tuple[Task, ...]:
    """Return drawn tasks, or all that the role has if these are fewer."""

    def draw(number: int) -> tuple[Task, ...]:
        rng = np.random.default_rng(derive_seed("task check", seed, role, family))
        return env.task_set.draw(number, rng=rng, families=[family], split=role)

    try:
        return draw(num_tasks)
    except TasksExhaustedError as error:
        return draw(error.num_left) if error.num_left else ()


def _meta_episodes(
    env: MetaEnv, family: str, num_seeds: int, num_steps: int, seed: int
) -> list[tuple[Trajectory, ...]] | None:
    played = []
    for number in range(num_seeds):
        rng = np.random.default_rng(derive_seed("task check", seed, "meta-episode", family, number))
        size = env.config.episodes_per_step
        queue = TaskQueue(env.task_set, rng=rng, batch_size=size, families=[family], split="train")
        try:
            tasks = [task for _ in range(num_steps) for task in queue.draw()]
        except TasksExhaustedError:  # a listed family with fewer tasks than a meta-episode needs
            return None
        played.append(_play(env, tasks, f"meta-episode {seed}/{number}"))
    return played


def _means(played: Sequence[Trajectory], num_steps: int) -> list[float]:
    """Return the mean score of each meta-step; NaN if all its episodes failed."""
    scores = np.array([item.score for item in played], dtype=np.float64)  # None becomes NaN
    return [float(mean) for mean in finite_mean(scores.reshape(num_steps, -1))]


def _play(env: MetaEnv, tasks: Sequence[Task], name: str) -> tuple[Trajectory, ...]:
    episodes = episodes_on(tasks, env.default_prompt, run_seed=0, arm=f"task check/{name}", meta_step=0)
    with raising_stops(env):
        played = env.play(episodes)
    if all(item.score is None for item in played):
        raise InfrastructureError(f"{notes_of_failures(played)[0]} Remove its cause, then check the tasks again.")
    return played
