"""The one meta-loop: play a batch under the prompt, reflect, and play the next batch under the new prompt.

N steps are N meta-steps and N reflections. They give N + 1 prompts, the last of which was not played.

A budget ends every loop in the same way. A batch, or a replay, that the episodes left do not cover is not started.
Tokens, calls and money may run out within a batch or a reflection, which is then left unfinished, and is paid for.
The loop hands over the last prompt that was written within the budget, played or not.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium

from metagym.budget import Budget, BudgetUse, Ledger
from metagym.env import MetaEnv, meta_env_of
from metagym.errors import BudgetExceededError, ConfigError, InfrastructureError
from metagym.meta_episode import check_batch_of
from metagym.reflectors import ReflectorSpec, as_reflector, reflect
from metagym.reflectors.task_reads import TaskWatch
from metagym.types import MetaStep, Record, Reflection, Text, Trajectory

logger = logging.getLogger(__name__)

Reflect = Callable[[Sequence[MetaStep]], Reflection]
"""Writes the next prompt from the history."""


class OptimizationResult(Record):
    """The result of a loop of meta-steps."""

    best_prompt: Text
    """The prompt with the highest mean score on its own batch; the earliest of equals. Each batch is small
    and different, so part of the best score is luck: measure the prompt on tasks that selected nothing."""
    best_reward: float
    last_prompt: Text
    """The prompt that the last reflection wrote, which is the loop's result."""
    history: tuple[MetaStep, ...]
    last_reflection: Reflection | None = None
    """The reflection that wrote `last_prompt`; None if the loop ended before it."""
    outlays: tuple[BudgetUse, ...] = ()
    """The usage up to the moment when each of `prompts` was known; only with a budget."""
    stopped: Text = ""
    """Why the loop ended before all its meta-steps were played; empty if it did not."""

    @property
    def prompts(self) -> tuple[str, ...]:
        """The prompts in order: those of the history, and the last one."""
        return (*(meta_step.prompt for meta_step in self.history), self.last_prompt)

    @property
    def rewards(self) -> tuple[float, ...]:
        """Mean score of each meta-step; -inf if all its episodes failed."""
        return tuple(_reward(meta_step) for meta_step in self.history)


class Log(Protocol):
    """Keeps meta-steps and reflections; a run folder is one."""

    def put(self, key: Hashable, record: MetaStep | Reflection) -> None:
        """Keep a meta-step under its index, or a reflection under ("", index of its meta-step)."""

    def get(self, kind: type[Reflection], key: tuple[str, int]) -> Reflection | None:
        """Return the reflection under that key if an earlier run made it."""


class Optimizer(Protocol):
    """Drives a meta-episode with its own rollouts, and returns the prompt that it ends with.

    It starts with `env.reset()`, plays by `env.step` and `env.replay` (on training tasks only), and takes no more
    than `budget` for all of that, reflections included. It may have a `fingerprint`, a JSON mapping of everything
    that decides its course.
    """

    def __call__(self, env: MetaEnv, reflector: ReflectorSpec, *, budget: Budget) -> OptimizationResult:
        """Return the result; `last_prompt` is the method's result. The end of the method's budget is no error."""


def optimize(
    env: gymnasium.Env[tuple[Trajectory, ...], str],
    reflector: ReflectorSpec,
    num_steps: int = 10,
    *,
    seed: int | None = None,
    first_prompt: str | None = None,
    budget: Budget | None = None,
    log: Log | None = None,
    on_meta_step: Callable[[MetaStep], Any] | None = None,
) -> OptimizationResult:
    """Run one meta-episode of at most `num_steps` meta-steps, each followed by a reflection.

    It starts from `first_prompt`, by default the environment's own, and ends early if the environment
    terminates or truncates, or if the `budget` ends. `log` keeps reflections and meta-steps, and returns those of
    an earlier run.

    >>> import gymnasium, metagym
    >>> from metagym.envs.gates.demo import GatesDemoReflector
    >>> with gymnasium.make("MetaGym/Gates-v0", actor="demo") as env:
    ...     result = optimize(env, GatesDemoReflector(), 6, seed=1)
    >>> result.rewards[-1] > result.rewards[0], len(result.prompts)
    (True, 7)

    Raises:
        InfrastructureError: a meta-step or a reflection failed; the error's `history` holds the finished meta-steps.
    """
    meta_env, policy = meta_env_of(env), as_reflector(reflector)
    watch = TaskWatch(policy)

    def reflect_once(history: Sequence[MetaStep]) -> Reflection:
        with meta_env.ledger.open():
            written, read = watch(
                history, meta_env.replay_async, lambda seen, replay: reflect(policy, seen, replay=replay)
            )
        return written.model_copy(update={"task_reads": read}) if read else written

    with contextlib.nullcontext() if budget is None else method_ledger(meta_env, budget) as ledger:
        return run_loop(
            env,
            reflect_once,
            num_steps=num_steps,
            ledger=ledger,
            seed=seed,
            first_prompt=first_prompt,
            log=log,
            on_meta_step=on_meta_step,
        )


def run_loop(
    env: gymnasium.Env[tuple[Trajectory, ...], str],
    reflect_once: Reflect,
    *,
    num_steps: int,
    ledger: Ledger | None = None,
    seed: int | None = None,
    first_prompt: str | None = None,
    log: Log | None = None,
    on_meta_step: Callable[[MetaStep], Any] | None = None,
) -> OptimizationResult:
    """Run the meta-loop around any way to reflect; see `optimize`.

    The loop ends without an error if the budget of `ledger` is spent. Its outlay is noted at each prompt.
    """
    if num_steps < 1:
        raise ConfigError(f"num_steps must be at least 1, got {num_steps}.")
    meta_env = meta_env_of(env)
    history: list[MetaStep] = []
    reflection: Reflection | None = None
    stopped, terminated, truncated = "", False, False
    _, info = env.reset(seed=seed)
    prompts: list[str] = [info["default_prompt"] if first_prompt is None else first_prompt]
    outlays = [] if ledger is None else [ledger.used]
    try:
        for index in range(num_steps):
            trajectories, reward, terminated, truncated, _ = env.step(prompts[-1])
            meta_step = MetaStep(
                index=index, prompt=prompts[-1], trajectories=trajectories, reward=float(reward), reflection=reflection
            )
            history.append(meta_step)
            if log is not None:
                log.put(index, meta_step)
            if on_meta_step is not None:
                on_meta_step(meta_step)
            if not meta_env.config.allow_bad_batches:
                check_batch_of(meta_step)
            reflection = None if log is None else log.get(Reflection, ("", index))
            if reflection is None:
                reflection = reflect_once(tuple(history))
                meta_env.check_prompt(reflection.prompt)  # before it is kept: each resume would read it back
                if log is not None:
                    log.put(("", index), reflection)
                    reflection = log.get(Reflection, ("", index)) or reflection  # with the prompt that was played
            prompts.append(meta_env.check_prompt(reflection.prompt))
            if ledger is not None:
                outlays.append(ledger.used)
            if (terminated or truncated) and index < num_steps - 1:
                stopped = "The success threshold was reached" if terminated else "No further tasks are left"
                break
    except BudgetExceededError as error:
        error.history = tuple(history)
        if ledger is None or error.ledger is not ledger:
            raise
        stopped = str(error).partition(". ")[0]
    except InfrastructureError as error:
        error.history = tuple(history)
        raise
    if stopped and truncated and not terminated:
        logger.warning(
            "The meta-episode was truncated after %d of %d meta-steps: raise max_episode_steps or give more tasks.",
            len(history),
            num_steps,
        )
    if len(prompts) == len(history):  # the budget ended within the last reflection
        reflection = None
        prompts.append(prompts[-1])
        if ledger is not None:
            outlays.append(ledger.used)
    return result_of(history, prompts[-1], last_reflection=reflection, outlays=tuple(outlays), stopped=stopped)


def result_of(history: Sequence[MetaStep], last_prompt: str, **fields: Any) -> OptimizationResult:
    """Return the result of a loop that played `history` and hands over `last_prompt`."""
    best = max(history, key=_reward, default=None)
    return OptimizationResult(
        best_prompt=last_prompt if best is None else best.prompt,
        best_reward=float("-inf") if best is None else _reward(best),
        last_prompt=last_prompt,
        history=tuple(history),
        **fields,
    )


@dataclass(frozen=True)
class InTurn:
    """The plain loop as an optimizer: every reflection leads to one more prompt.

    >>> import gymnasium, metagym
    >>> from metagym.envs.gates.demo import GatesDemoReflector
    >>> with gymnasium.make("MetaGym/Gates-v0", actor="demo") as env:
    ...     result = InTurn()(env.unwrapped, GatesDemoReflector(), budget=Budget(episodes=12))
    >>> len(result.history), result.stopped, [outlay.episodes for outlay in result.outlays]
    (2, 'The budget of 12 episodes leaves 2, and the next batch takes 5', [0, 5, 10])
    """

    num_steps: int = 10
    """Meta-steps, at most."""

    @property
    def fingerprint(self) -> dict[str, Any]:
        """The settings that decide the course, beside the reflector."""
        return {"kind": "InTurn", "num_steps": self.num_steps}

    def __call__(self, env: MetaEnv, reflector: ReflectorSpec, *, budget: Budget) -> OptimizationResult:
        """Run the loop; see `Optimizer`."""
        return optimize(env, reflector, self.num_steps, budget=budget)


@contextlib.contextmanager
def method_ledger(env: MetaEnv, budget: Budget) -> Iterator[Ledger]:
    """Book everything that `env` plays, and every model call inside, on a ledger with that budget.

    Its parent is the environment's ledger. If that one is a method's ledger with this budget already, it is used.
    """
    before = env.ledger
    ledger = before if before.parent is not None and before.budget == budget else Ledger(budget, parent=before)
    env.ledger = ledger
    try:
        with ledger.open():
            yield ledger
    finally:
        env.ledger = before


def _reward(meta_step: MetaStep) -> float:
    return float("-inf") if meta_step.reward is None else meta_step.reward
