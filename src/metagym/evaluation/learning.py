"""Learning: the meta-episodes of an evaluation, side by side, each driven by the meta-loop or by an optimizer."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from metagym import background
from metagym.budget import Ledger
from metagym.env import MetaEnv
from metagym.errors import BudgetExceededError
from metagym.evaluation.memorisation import keep_copies
from metagym.evaluation.plan import Plan
from metagym.evaluation.scoring import Loop, LoopLog, Scorer
from metagym.optimizers import OptimizationResult, Optimizer, optimize
from metagym.optimizers.meta_loop import result_of
from metagym.optional_attributes import extension_of
from metagym.reflectors import Reflector
from metagym.runs import Learned, Role, measure
from metagym.types import MetaStep, Reflection, Trajectory

T = TypeVar("T")


def learn(plan: Plan, env: MetaEnv, reflector: Reflector, scorer: Scorer, loops: Sequence[Loop]) -> None:
    """Run the meta-loop in each meta-episode, from the point the store has reached, and give each loop its prompts."""

    def learn_one(loop: Loop) -> OptimizationResult:
        return optimize(
            _branch(plan, env, loop, env.ledger),
            reflector,
            loop.num_steps,
            log=LoopLog(scorer.store, loop.name),
            on_meta_step=functools.partial(_keep_online, scorer, loop),
        )

    # The first batch of the seed before, for the first seed that of the second: a text in it is the family's language.
    others: dict[str, tuple[Trajectory, ...]] = {}
    firsts: dict[str, tuple[Loop, Sequence[MetaStep]]] = {}
    for loop, result in _side_by_side(plan, env, loops, learn_one):
        loop.prompts = list(result.prompts)
        loop.batches = [tuple(item.task for item in meta_step.trajectories) for meta_step in result.history]
        batch = result.history[0].trajectories
        if loop.family not in others:
            firsts[loop.family] = loop, result.history
        else:
            if loop.family in firsts:
                keep_copies(scorer.store, *firsts.pop(loop.family), batch)
            keep_copies(scorer.store, loop, result.history, others[loop.family])
        others[loop.family] = batch
    for only, history in firsts.values():
        keep_copies(scorer.store, only, history, ())


def learn_within_budget(
    plan: Plan, env: MetaEnv, optimizer: Optimizer, reflector: Reflector, scorer: Scorer, loops: Sequence[Loop]
) -> None:
    """Let the optimizer learn in each meta-episode that the store does not hold, and give each loop its prompts.

    If learning ends before all meta-steps are played, the last prompt is repeated. If there are more prompts than
    meta-steps, the first ones and the last are measured.
    """
    learned = {item.key: item for item in scorer.store.all(Learned).values()}

    def learn_one(loop: Loop) -> tuple[OptimizationResult, Ledger]:
        ledger = Ledger(plan.config.learning_budget, parent=env.ledger)
        branch = _branch(plan, env, loop, ledger)
        with ledger.open():
            return _result_within_budget(branch, optimizer, reflector, ledger), ledger

    missing = [loop for loop in loops if (loop.family, loop.seed) not in learned]
    for loop, (result, ledger) in _side_by_side(plan, env, missing, learn_one):
        for meta_step in result.history[: loop.num_steps]:
            if all(item.episode.arm == loop.name for item in meta_step.trajectories):  # fresh tasks, not replayed ones
                _keep_online(scorer, loop, meta_step)
        learned[loop.family, loop.seed] = _keep_learned(scorer, loop, result, ledger)
    for loop in loops:
        prompts = learned[loop.family, loop.seed].prompts
        loop.prompts = [*prompts, *prompts[-1:] * (loop.num_steps + 1 - len(prompts))]


def _side_by_side(
    plan: Plan, env: MetaEnv, loops: Sequence[Loop], learn_one: Callable[[Loop], T]
) -> Iterator[tuple[Loop, T]]:
    """Yield each loop's result: as many learn at once as fill the engine. A scripted actor never waits."""
    is_scripted = extension_of(env.actor).scripted
    max_threads = 1 if is_scripted else max(1, env.config.max_concurrency // plan.config.episodes_per_step)
    jobs = [functools.partial(learn_one, loop) for loop in loops]
    results = background.run_side_by_side(jobs, max_threads=max_threads)
    with contextlib.closing(results):  # if keeping a result fails, the other loops are cancelled
        yield from zip(loops, results, strict=True)


def _branch(plan: Plan, env: MetaEnv, loop: Loop, ledger: Ledger) -> MetaEnv:
    branch = env.branch(
        ledger=ledger,
        rng=np.random.default_rng(loop.rng_seed),
        retries=plan.config.retries,
        families=loop.families,
        split="train",
        schedule=loop.schedule,
        episodes_per_step=plan.config.episodes_per_step,
        success_threshold=None,
        arm=loop.name,
    )
    branch.default_prompt = plan.first_prompt
    return branch


def _keep_online(scorer: Scorer, loop: Loop, meta_step: MetaStep) -> None:
    index, prompt, played = meta_step.index, meta_step.prompt, meta_step.trajectories
    family = loop.family_at(index)
    scorer.keep(measure(family, loop.seed, Role.ONLINE, index=index, prompt=prompt, trajectories=played))


def _keep_learned(scorer: Scorer, loop: Loop, result: OptimizationResult, ledger: Ledger) -> Learned:
    for index, reflection in enumerate([*(item.reflection for item in result.history[1:]), result.last_reflection]):
        if reflection is not None and scorer.store.get(Reflection, (loop.name, index)) is None:
            scorer.store.put((loop.name, index), reflection)
    outlays = result.outlays or (ledger.used,) * len(result.prompts)
    last = len(result.prompts) - 1
    measured = [*range(min(last, loop.num_steps)), last]
    learned = Learned(
        family=loop.family,
        seed=loop.seed,
        prompts=tuple(result.prompts[index] for index in measured),
        outlays=tuple(outlays[index] for index in measured),
        total=ledger.used,
        usage={role: ledger.spent(role=role).usage for role in sorted({key[0] for key in ledger.rows()})},
        num_meta_steps=len(result.history),
        stopped=result.stopped,
    )
    scorer.store.put(learned.key, learned)
    return learned


def _result_within_budget(
    branch: MetaEnv, optimizer: Optimizer, reflector: Reflector, ledger: Ledger
) -> OptimizationResult:
    try:
        return optimizer(branch, reflector, budget=ledger.budget)
    except BudgetExceededError as error:
        # An optimizer that lets its budget stop it ends with the last prompt that it finished a batch under.
        if error.ledger is not ledger:
            raise
        history = error.history
        prompt = history[-1].prompt if history else branch.default_prompt
        result = result_of(history, prompt, last_reflection=None, outlays=(), stopped=str(error).partition(". ")[0])
        return result.model_copy(update={"best_prompt": prompt, "best_reward": float("-inf")})
