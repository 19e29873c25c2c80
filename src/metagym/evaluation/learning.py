"""Learning within a budget: each meta-episode by itself, on an account of its own, by any optimizer."""

from __future__ import annotations

import contextlib
import functools

import numpy as np

from metagym import background
from metagym.budget import Account
from metagym.env import MetaEnv
from metagym.errors import BudgetExceededError
from metagym.evaluation.plan import Plan
from metagym.evaluation.scoring import Loop, Scorer
from metagym.extensions import extension_of
from metagym.optimizers import Optimizer
from metagym.optimizers.loop import OptimizationResult
from metagym.reflectors import Reflector
from metagym.runs import Learned, Role, measure
from metagym.seeding import derive_seed
from metagym.types import Reflection


def learn_within_budget(
    plan: Plan, env: MetaEnv, optimizer: Optimizer, reflector: Reflector, scorer: Scorer, loops: list[Loop]
) -> None:
    """Let the optimizer learn in each meta-episode that is not known yet, and give each loop its prompts.

    A meta-episode draws the tasks that it draws in every other arm. One that ends before its meta-steps are
    played keeps its last prompt. Of more prompts than meta-steps the first ones are measured, and the last.
    """
    known = {item.key: item for item in scorer.store.all(Learned).values()}
    num_steps = plan.config.num_steps
    new = [loop for loop in loops if (loop.family, loop.seed) not in known]
    results = background.run_side_by_side(
        [functools.partial(_learn, plan, env, optimizer, reflector, loop) for loop in new],
        max_threads=_num_at_once(plan, env),
    )
    with contextlib.closing(results):  # where keeping fails, nobody goes on to learn
        for loop, (result, account) in zip(new, results, strict=True):
            known[loop.family, loop.seed] = _keep(scorer, loop, result, account, num_steps)
    for loop in loops:
        learned = known[loop.family, loop.seed]
        loop.prompts = [*learned.prompts, *learned.prompts[-1:] * (num_steps + 1 - len(learned.prompts))]


def _num_at_once(plan: Plan, env: MetaEnv) -> int:
    """Return how many meta-episodes learn at once: as many as fill the engine. A script waits for no reply."""
    is_scripted = extension_of(env.actor).scripted
    return 1 if is_scripted else max(1, env.config.max_concurrency // plan.config.episodes_per_step)


def _learn(
    plan: Plan, env: MetaEnv, optimizer: Optimizer, reflector: Reflector, loop: Loop
) -> tuple[OptimizationResult, Account]:
    config = plan.config
    account = Account(config.learning_budget, within=env.ledger)
    branch = env.branch(
        ledger=account,
        rng=np.random.default_rng(derive_seed("meta-episode", config.task_seed, loop.family, loop.seed)),
        retries=config.retries,
        families=(plan.learn_from[loop.family],),
        split="train",
        schedule="fresh",
        episodes_per_step=config.episodes_per_step,
        arm=loop.name,
    )
    branch.default_prompt = plan.first_prompt
    with account.open():
        return _result(branch, optimizer, reflector, account), account


def _keep(scorer: Scorer, loop: Loop, result: OptimizationResult, account: Account, num_steps: int) -> Learned:
    """Keep what was learned: the online scores, the reflections, and what it took."""
    for item in result.history[:num_steps]:
        played = item.trajectories
        if all(own.episode.arm == loop.name for own in played):  # fresh tasks, not replayed ones
            online = measure(
                loop.family, loop.seed, Role.ONLINE, index=item.index, prompt=item.prompt, trajectories=played
            )
            scorer.keep(online)
    for index, reflection in enumerate([*(item.reflection for item in result.history[1:]), result.last_reflection]):
        if reflection is not None and scorer.store.get(Reflection, (loop.name, index)) is None:
            scorer.store.put((loop.name, index), reflection)
    outlays = result.outlays or (account.outlay,) * len(result.prompts)
    last = len(result.prompts) - 1
    shown = [*range(min(last, num_steps)), last]
    learned = Learned(
        family=loop.family,
        seed=loop.seed,
        prompts=tuple(result.prompts[index] for index in shown),
        outlays=tuple(outlays[index] for index in shown),
        total=account.outlay,
        usage={role: account.spent(role=role).usage for role in sorted({key[0] for key in account.rows()})},
        num_meta_steps=len(result.history),
        stopped=result.stopped,
    )
    scorer.store.put(learned.key, learned)
    return learned


def _result(branch: MetaEnv, optimizer: Optimizer, reflector: Reflector, account: Account) -> OptimizationResult:
    try:
        return optimizer(branch, reflector, budget=account.budget)
    except BudgetExceededError as error:
        # An optimizer that lets its budget stop it ends with the last prompt that it finished a batch under.
        if error.ledger is not account:
            raise
        history = error.history
        prompt = history[-1].prompt if history else branch.default_prompt
        stopped = str(error).partition(". ")[0]
        return OptimizationResult(
            best_prompt=prompt, best_reward=float("-inf"), last_prompt=prompt, history=history, stopped=stopped
        )
