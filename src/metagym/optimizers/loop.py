"""The Gymnasium loop with a reflector as its policy: play, reflect, play under the new prompt."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol

import gymnasium

from metagym import background, reflectors
from metagym.budget import Ledger, Outlay
from metagym.errors import ConfigError, InfrastructureError
from metagym.reflectors import FunctionReflector, Reflector, ReflectorSpec, Replay, as_reflector, bind
from metagym.types import MetaStep, Record, Reflection, Trajectory

logger = logging.getLogger(__name__)


class OptimizationResult(Record):
    """What a loop of meta-steps found."""

    best_prompt: str
    """The prompt with the highest mean score on its own batch; the earliest of equals. Each batch is small
    and different, so part of the best score is luck: measure the prompt on tasks that chose nothing."""
    best_reward: float
    last_prompt: str
    """The prompt that the loop ended with: what it hands over."""
    history: tuple[MetaStep, ...]
    last_reflection: Reflection | None = None
    """The reflection that wrote `last_prompt`, where it came after the last meta-step."""
    outlays: tuple[Outlay, ...] = ()
    """What had been taken when each of `prompts` was known; only from an optimizer with a budget."""
    stopped: str = ""
    """Why the loop ended before its meta-steps were played; empty where it did not."""

    @property
    def prompts(self) -> tuple[str, ...]:
        """The prompts in order: those of the history, and the last one."""
        return (*(meta_step.prompt for meta_step in self.history), self.last_prompt)

    @property
    def rewards(self) -> tuple[float, ...]:
        """Mean score of each meta-step."""
        return tuple(_reward(meta_step) for meta_step in self.history)


class Log(Protocol):
    """Keeps meta-steps and reflections; a run folder is one."""

    def put(self, key: Hashable, record: MetaStep | Reflection) -> None:
        """Keep a meta-step under its index, or a reflection under `(meta-episode, index of its meta-step)`."""
        ...

    def get(self, kind: type[Reflection], key: tuple[str, int]) -> Reflection | None:
        """Return the reflection under that key if an earlier run made it."""
        ...


def optimize(
    env: gymnasium.Env[tuple[Trajectory, ...], str],
    reflector: ReflectorSpec,
    num_steps: int = 10,
    *,
    seed: int | None = None,
    first_prompt: str | None = None,
    log: Log | None = None,
    on_meta_step: Callable[[MetaStep], Any] | None = None,
) -> OptimizationResult:
    """Run one meta-episode of at most `num_steps` meta-steps, and return the best prompt and the history.

    It starts from `first_prompt`, by default the environment's own, and ends early where the environment
    terminates or truncates. `log` keeps reflections and meta-steps, and gives back those of an earlier run.

    >>> import gymnasium, metagym
    >>> from metagym.envs.gates.demo import GatesDemoReflector
    >>> with gymnasium.make("MetaGym/Gates-v0", actor="demo") as env:
    ...     result = optimize(env, GatesDemoReflector(), 6, seed=1)
    >>> result.rewards[-1] > result.rewards[0]
    True

    Raises:
        InfrastructureError: a meta-step or a reflection failed; the error's `history` holds what was finished.
    """
    if num_steps < 1:
        raise ConfigError(f"num_steps must be at least 1, got {num_steps}.")
    policy = as_reflector(reflector)
    history: list[MetaStep] = []
    reflection: Reflection | None = None
    _, info = env.reset(seed=seed)
    prompt: str = info["default_prompt"] if first_prompt is None else first_prompt
    try:
        for index in range(num_steps):
            trajectories, reward, terminated, truncated, _ = env.step(prompt)
            meta_step = MetaStep(
                index=index,
                prompt=prompt,
                trajectories=trajectories,
                reward=float(reward),
                reflection=reflection,
            )
            history.append(meta_step)
            if log is not None:
                log.put(index, meta_step)
            if on_meta_step is not None:
                on_meta_step(meta_step)
            if terminated or truncated or index == num_steps - 1:
                break
            with getattr(env.unwrapped, "ledger", Ledger()).open():
                replay = getattr(env.unwrapped, "replay_async", None)
                (reflection,) = reflect_all(policy, [history], log, replays=[replay])
            prompt = reflection.prompt
    except InfrastructureError as error:
        error.history = tuple(history)
        raise
    if len(history) < num_steps and not terminated:
        logger.warning(
            "The meta-episode was truncated after %d of %d meta-steps: raise max_episode_steps or give more tasks.",
            len(history),
            num_steps,
        )
    best = max(history, key=_reward)
    return OptimizationResult(
        best_prompt=best.prompt, best_reward=_reward(best), last_prompt=prompt, history=tuple(history)
    )


def reflect_all(
    reflector: Reflector,
    histories: Sequence[Sequence[MetaStep]],
    log: Log | None = None,
    *,
    names: Sequence[str] = (),
    replays: Sequence[Replay | None] = (),
) -> list[Reflection]:
    """Return the reflection on each history, all at once; those that the log holds are taken from there.

    `names` are the meta-episodes in the log (by default one without a name). `replays`, one a history, play what
    a reflector that wants rollouts of its own asks for. Each reflection is kept in the log as it comes, so that a
    failure of one loses none of the others.

    Raises:
        ConfigError: the reflector returned something else than a reflection.
        Exception: whatever the reflector raised first.
    """
    found: dict[int, Reflection] = {}
    keys = [(name, history[-1].index) for name, history in zip(names or [""], histories, strict=True)]
    for place, key in enumerate(keys):
        if log is not None and (recalled := log.get(Reflection, key)) is not None:
            found[place] = recalled

    def keep(place: int, reflection: object) -> None:
        if not isinstance(reflection, Reflection):
            raise ConfigError(f"A reflector must return a Reflection or a str, got {type(reflection).__name__}.")
        if log is not None:
            log.put(keys[place], reflection)
        found[place] = reflection

    missing = [place for place in range(len(histories)) if place not in found]

    async def reflect(place: int) -> None:
        keep(place, await bind(reflector, replays[place] if replays else None).reflect(histories[place]))

    async def reflect_missing() -> list[BaseException | None]:
        return await asyncio.gather(*map(reflect, missing), return_exceptions=True)

    if isinstance(reflector, FunctionReflector):
        for place in missing:
            keep(place, reflectors.reflect(reflector, histories[place]))
    elif missing:
        for problem in background.run(reflect_missing()):
            if problem is not None:
                raise problem
    return [found[place] for place in range(len(histories))]


def _reward(meta_step: MetaStep) -> float:
    return float("-inf") if meta_step.reward is None else meta_step.reward
