"""Checks that a meta-environment keeps the contract of docs/contract.md, by playing it several times."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env

from metagym.actor import tools_at
from metagym.env import MetaEnv
from metagym.errors import InfrastructureError, TasksExhaustedError
from metagym.tasks import ROLES, with_role
from metagym.testing.text_env_checks import UNKNOWN_COMMAND, check_text_env, expect, expect_success, expecting
from metagym.tools import ToolCall, random_call
from metagym.types import Action, Episode, MetaStep, Observation, Step, StopReason, Task, Trajectory

logger = logging.getLogger(__name__)

NUM_INNER_TASKS = 3
"""Tasks whose inner environment is checked one by one."""
NUM_TASKS_PER_ROLE = 10
NUM_STARTS, MAX_FAMILIES = 40, 5
"""Tasks of each family, and families, that are looked at first: equal starts are found before a long search."""
_STARTS = "Make sure that reset(seed=seed, options={'task_id': 'family/seed'}) starts every task."
INFO_KEYS = ("task_ids", "scores", "successes", "num_failed", "invalid_action_rate", "usage", "fingerprint")

MakeEnv = Callable[..., Any]
"""Makes the meta-environment; called with `actor` and the options."""
Played = list[tuple[Any, ...]]
"""The five values that `step` returned, for each meta-step."""


def check_meta_env(
    env: str | type[MetaEnv] | MakeEnv, *, seed: int = 0, num_meta_steps: int = 2, **options: Any
) -> None:
    """Raise ContractError unless a meta-environment keeps its contract. `env` is the class, an id, or a function.

    The message names the expected and the actual value, and the remedy. `env` is called several times, with `options`
    as for `gym.make` and with an actor that plays at random and sometimes gives no action. The checks are:
    Gymnasium's own `check_env`; the inner environment on several tasks; tasks and trajectories that follow from the
    seed, in another copy and with any concurrency; no task twice; roles that share no content; the contents of `info`;
    `replay`; the tasks given to `reset`; invalid actions as data; the JSON round trip of spec and trajectories; no task
    id shown to the actor; and closing twice.

    >>> check_meta_env("MetaGym/Gates-v0", episodes_per_step=2)
    """
    make = _maker(env, options)
    with _opened(make) as first, _opened(make, max_concurrency=1) as again:
        _check_fingerprint(first, again)
        _check_starts(first, seed)
        _check_tasks(first, again, seed)
        _check_inner(first, seed)
        remedy = "If you override reset, step or a space, keep Gymnasium's own contract."
        with (
            _opened(make, max_concurrency=1) as env_of_gymnasium,
            expecting("gymnasium's check_env to pass", remedy=remedy),
        ):
            check_env(env_of_gymnasium, skip_render_check=True)
        played = _play(first, seed, num_meta_steps)
        _check_no_task_twice(played, first)
        for trajectories, *rest in played:
            _check_values(trajectories, *rest)
            for trajectory in trajectories:
                _check_trajectory(trajectory)
        _check_success(played, first)
        _check_equal(played, _play(again, seed, num_meta_steps), "another copy, one episode at a time")
        _check_equal(played, _play(first, seed, num_meta_steps), "the same copy, reset with the same seed")
        _check_replay(first, played, seed)
        _check_given_tasks(first, played, seed)
        _check_invalid_actions(make, seed)
    if isinstance(env, str):
        _check_spec(env, options)


@dataclass
class _RandomProber:
    share_invalid: float = 0.25
    scripted = True
    fingerprint = {"kind": "check_meta_env"}

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        await asyncio.sleep(0)  # lets other episodes step in between, as a model does: state that they share shows
        rng = np.random.default_rng((episode.seed, len(steps)))
        is_invalid = rng.random() < self.share_invalid
        if tools := tools_at(steps, observation):
            return Action(text=(ToolCall(UNKNOWN_COMMAND, {}) if is_invalid else random_call(tools, rng)).text)
        if is_invalid or not observation.available_actions:
            return Action(text=UNKNOWN_COMMAND)
        return Action(text=observation.available_actions[int(rng.integers(len(observation.available_actions)))])


def _maker(env: Any, options: dict[str, Any]) -> MakeEnv:
    remedy = "Pass the class itself, a registered id, or a function that returns the environment."
    is_legal = isinstance(env, str) or (issubclass(env, MetaEnv) if isinstance(env, type) else callable(env))
    expect(is_legal, "a subclass of metagym.MetaEnv, an id or a function", got=env, remedy=remedy)

    def make(**more: Any) -> MetaEnv:
        given = {"actor": _RandomProber(), **options, **more}
        made = gymnasium.make(env, **given).unwrapped if isinstance(env, str) else env(**given)
        remedy = "Inherit from metagym.MetaEnv; for a plain text environment there is check_text_env."
        expect(isinstance(made, MetaEnv), "a metagym.MetaEnv", got=f"a {type(made).__name__}", remedy=remedy)
        return cast(MetaEnv, made)

    return make


@contextmanager
def _opened(make: MakeEnv, **more: Any) -> Iterator[Any]:
    with make(**more) as env:
        yield env
    remedy = "If you override close, let it do nothing the second time, and call super().close()."
    with expecting("the second close to raise nothing", remedy=remedy):
        env.close()


def _check_inner(env: MetaEnv, seed: int) -> None:
    for task in _draw_tasks(env, env.config.split, NUM_INNER_TASKS, seed):
        remedy = "Let make_inner_env return a new gymnasium.Env[str, str] each time it is called."
        with expecting("make_inner_env to make an environment", remedy=remedy):
            inner = env.make_inner_env()
        check_text_env(inner, seed=task.seed, options={"task_id": task.id})


def _draw_tasks(env: MetaEnv, split: str, num_tasks: int, seed: int) -> tuple[Task, ...]:
    """Draw `num_tasks` tasks of the split, or all if there are fewer."""
    for size in range(num_tasks, 0, -1):
        with suppress(TasksExhaustedError), expecting("the task set to draw tasks", remedy=_STARTS):
            rng = np.random.default_rng(seed)
            return env.task_set.draw(size, rng=rng, families=env.families, split=split)
    return ()


def _check_starts(env: MetaEnv, seed: int) -> None:
    """Find out quickly that all starts are equal, before many are searched for a second content in vain."""
    with expecting("the task set to list its tasks", remedy=_STARTS):
        looked_at = [
            tuple(
                map(
                    with_role,
                    itertools.islice(env.task_set.candidates(family, np.random.default_rng(seed)), NUM_STARTS),
                )
            )
            for family in env.families[:MAX_FAMILIES]
        ]
    if len(env.families) > MAX_FAMILIES or any(len({task.digest for task in tasks}) > 1 for tasks in looked_at):
        return
    has_own = any(task.split == env.config.split for tasks in looked_at for task in tasks)
    is_enough = env.config.split not in ROLES or has_own
    expected = f"starts that differ, so that some have the split {env.config.split!r}"
    got = f"{NUM_STARTS} tasks of equal content in each of {list(env.families)}"
    remedy = (
        "Tasks of equal content have one role, and TaskSet.from_seeds takes the first text for the content. If the "
        "seeds give different games, give it a digest=lambda env, task: str(task.seed); if not, let reset draw from "
        "self.np_random after super().reset(seed=seed)."
    )
    if min(map(len, looked_at)) < NUM_STARTS:
        return
    expect(is_enough, expected, got=got, remedy=remedy)
    logger.warning("The check found %s, so that an evaluation will find no tasks of other roles. %s", got, remedy)


def _check_tasks(env: MetaEnv, other: MetaEnv, seed: int) -> None:
    own = env.config.split
    wanted = 2 * env.config.episodes_per_step  # with fewer, the first meta-step would be the last
    remedy = (
        "Give the task set more tasks, or check with fewer episodes_per_step. Starts with the same first text "
        "have one role in TaskSet.from_seeds, unless your own `digest` distinguishes them."
    )
    num_drawn = len(_draw_tasks(env, own, wanted, seed))
    expected = f"{wanted} tasks with the split {own!r}, for two meta-steps"
    expect(num_drawn == wanted, expected, got=num_drawn, remedy=remedy)
    roles: dict[str, Task] = {}
    for split in dict.fromkeys((own, *ROLES)):
        drawn, again = (_draw_tasks(copy, split, NUM_TASKS_PER_ROLE, seed) for copy in (env, other))
        got = f"other tasks with the split {split!r}"
        remedy = (
            "Let the task set draw only from the generator it is given, never by a clock or the order of a set "
            "or a folder."
        )
        expect(drawn == again, "equal tasks from equal seeds, in every copy", got=got, remedy=remedy)
        for task in drawn:
            found = with_role(env.task_set.find(task.id))
            remedy = "Let find(id) return the very task that was drawn."
            expect(found == task, f"find({task.id!r}) to return the drawn task", got=found, remedy=remedy)
            before = roles.setdefault(task.digest, task) if split in ROLES else task
            got = f"{before.id!r} in {before.split!r} and {task.id!r} in {task.split!r}"
            remedy = "Leave `split` empty in your tasks, so that it follows from the digest of the content."
            expect(before.split == task.split, "equal content to have one role", got=got, remedy=remedy)


def _play(env: MetaEnv, seed: int, num_meta_steps: int) -> Played:
    num_episodes = env.ledger.num_episodes
    observation, info = env.reset(seed=seed)
    prompt = info.get("default_prompt")
    remedy = "If you override reset, return super().reset(...) with your additions to info."
    expect(observation == (), "reset to return () and to play nothing", got=observation, remedy=remedy)
    expect(env.ledger.num_episodes == num_episodes, "reset to play nothing", got="episodes", remedy=remedy)
    remedy = "Set the class attribute default_prompt to a str."
    expect(prompt in env.action_space, "info['default_prompt'] to be a prompt", got=prompt, remedy=remedy)
    steps: Played = []
    while len(steps) < num_meta_steps and not (steps and (steps[-1][2] or steps[-1][3])):
        steps.append(_step(env, str(prompt)))
    return steps


def _step(env: MetaEnv, prompt: str) -> tuple[Any, ...]:
    remedy = "Whatever the actor says is data: an inner environment answers in words, and does not raise."
    with expecting("every episode to be played", remedy=remedy, errors=InfrastructureError):
        return env.step(prompt)


def _check_no_task_twice(played: Played, env: MetaEnv) -> None:
    if env.config.schedule not in ("fresh", "blocked"):
        return  # such a schedule repeats tasks on purpose
    tasks = [trajectory.task for step in played for trajectory in step[0]]
    ids = [task.id for task in tasks]
    twice = sorted({task_id for task_id in ids if ids.count(task_id) > 1})
    remedy = "Give each task its own id; if you override `draw`, leave out the ids in `exclude`."
    expect(not twice, "no task id twice in a meta-episode", got=twice, remedy=remedy)


def _check_values(batch: Sequence[Trajectory], reward: Any, terminated: Any, truncated: Any, info: Any) -> None:
    remedy = "If you override step, return super().step(...) with your additions."
    missing = [key for key in INFO_KEYS if key not in info]
    expect(not missing, "all of the contract's keys in info", got=f"no {missing}", remedy=remedy)
    scores, size = info["scores"], len(batch)
    has_shape = isinstance(scores, np.ndarray) and scores.dtype == np.float64 and scores.shape == (size,)
    expect(has_shape, f"info['scores'] as float64 of shape [{size}]", got=scores, remedy=remedy)
    is_mean = isinstance(reward, float) and math.isclose(reward, float(np.nanmean(scores)), abs_tol=1e-9)
    expect(is_mean, "the reward to be the mean of the scores, a float", got=reward, remedy=remedy)
    ids = tuple(trajectory.task.id for trajectory in batch)
    expect(info["task_ids"] == ids, f"info['task_ids'] to be {ids}", got=info["task_ids"], remedy=remedy)
    flags = (terminated, truncated)
    expect(all(type(flag) is bool for flag in flags), "terminated and truncated as bools", got=flags, remedy=remedy)


def _check_success(played: Played, env: MetaEnv) -> None:
    if type(env).score is not MetaEnv.score or env.config.score != "success":
        return  # then a score need not depend on success
    whole = [item for step in played for item in step[0] if item.stop_reason is not StopReason.ERROR]
    has_any = any(item.success is not None for item in whole)
    for item in whole:
        ends = item.stop_reason in (StopReason.TERMINATED, StopReason.TRUNCATED)
        expect_success(item.success, has_any, ends, item.episode_return, f"in the task {item.task.id!r}")


def _check_trajectory(trajectory: Trajectory) -> None:
    remedy = "Use only text, numbers, lists and dicts in info['display'], and text elsewhere."
    with expecting("a trajectory that JSON can hold", remedy=remedy, errors=ValueError):
        again = Trajectory.model_validate_json(trajectory.model_dump_json())
    remedy = "Use lists instead of tuples and no NaN in info['display']."
    expect(again == trajectory, "a trajectory to equal its JSON round trip", got="another one", remedy=remedy)
    task_id = trajectory.task.id
    if len(task_id) < 4 or task_id.isdigit():
        return  # such an id may be in a text by chance
    name = re.compile(rf"(?<!\w){re.escape(task_id)}(?!\w)")
    last = trajectory.final_observation
    seen = [*(step.observation for step in trajectory.steps), *(() if last is None else (last,))]
    texts = ["\n".join((one.text, one.goal, *(one.available_actions or ()), json.dumps(one.tools))) for one in seen]
    remedy = "Show the models what a player would see; an id may reveal the goal, or the answer."
    for shown in (*texts, trajectory.stop_detail):
        expect(not name.search(shown), f"no task id in what the models see, {task_id!r}", got=shown, remedy=remedy)


def _check_equal(played: Played, again: Played, how: str) -> None:
    remedy = "Draw only from self.np_random in the inner environment, reset all state in its reset, and keep no state "
    remedy += "in the class, the module or files."
    for number, (before, after) in enumerate(zip(played, again, strict=True)):
        for one, two in zip(before[0], after[0], strict=True):
            expect(one.task == two.task, f"equal tasks from equal seeds ({how})", got=two.task, remedy=remedy)
            turn = next((n for n, pair in enumerate(zip(one.steps, two.steps, strict=False)) if pair[0] != pair[1]), -1)
            got = f"a difference at meta-step {number}, task {one.task.id!r}, turn {turn}"
            expect(one == two, f"equal trajectories from equal seeds ({how})", got=got, remedy=remedy)
        infos = [json.dumps(info, sort_keys=True, default=repr) for info in (before[4], after[4])]
        remedy_info = "Put no clock and no counter into info: these belong into env.unwrapped.ledger."
        expect(infos[0] == infos[1], f"equal info from equal seeds ({how})", got=infos[1], remedy=remedy_info)


def _check_replay(env: MetaEnv, played: Played, seed: int) -> None:
    _, info = env.reset(seed=seed)
    ids, prompts = played[0][4]["task_ids"], (str(info["default_prompt"]), "Another prompt.")
    first = _step(env, prompts[0])
    meta_steps: tuple[MetaStep, ...] = env.replay(prompts, ids)
    remedy = "If you override replay, return super().replay(...)."
    got = [tuple(item.task.id for item in meta_step.trajectories) for meta_step in meta_steps]
    expect(got == [ids, ids], f"replay to play {ids} under both prompts", got=got, remedy=remedy)
    replayed = tuple(meta_step.prompt for meta_step in meta_steps)
    expect(replayed == prompts, "one MetaStep for each prompt", got=replayed, remedy=remedy)
    if len(played) > 1:
        _check_equal(played[:2], [first, _step(env, prompts[0])], "with a replay in between")


def _check_given_tasks(env: MetaEnv, played: Played, seed: int) -> None:
    ids = list(dict.fromkeys(task_id for step in played for task_id in step[4]["task_ids"]))[::-1]
    env.reset(seed=seed, options={"task_ids": ids})
    got = list(_step(env, env.default_prompt)[4]["task_ids"])
    remedy = "If you override reset, pass `options` on to super().reset."
    expect(got == ids[: len(got)], "the tasks given to reset, in order", got=got, remedy=remedy)


def _check_invalid_actions(make: MakeEnv, seed: int) -> None:
    remedy = "An action that is not available is data: count it, and neither end nor fail the episode."
    with _opened(make, actor=_RandomProber(share_invalid=1.0), max_steps=3) as env:
        for trajectory in _play(env, seed, 1)[0][0]:
            seen = [step.observation for step in trajectory.steps]
            offers = [bool(tools_at(trajectory.steps[:turn], now)) for turn, now in enumerate(seen)]
            known = [now.available_actions is not None for now in seen]
            got, num_invalid = trajectory.num_invalid, sum(map(max, offers, known))
            is_counted = got == num_invalid
            expect(is_counted, "unavailable actions to be counted", got=got, remedy=remedy)


def _check_fingerprint(env: MetaEnv, other: MetaEnv) -> None:
    remedy = "Let inner_fingerprint hold names, versions and digests: no objects, no addresses, no times."
    with expecting("a fingerprint that is JSON", remedy=remedy):
        texts = [json.dumps(made.fingerprint, sort_keys=True) for made in (env, other)]
    expect(texts[0] == texts[1], "one fingerprint for all copies", got=texts[1], remedy=remedy)


def _check_spec(env_id: str, options: dict[str, Any]) -> None:
    remedy = "Give gymnasium.make only options that are JSON; pass live objects to the class."
    with expecting("a spec that JSON can hold", remedy=remedy):
        made = gymnasium.make(env_id, **{"actor": "random", **options})
        made.close()
        assert made.spec is not None
        EnvSpec.from_json(made.spec.to_json()).make().close()
