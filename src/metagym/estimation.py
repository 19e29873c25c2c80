"""What a run will take, before it starts: calls, tokens, money, time; and how many seeds an effect needs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from metagym.actor import ChatActor, RandomActor
from metagym.env import MetaEnv
from metagym.errors import ConfigError
from metagym.models import ChatModel
from metagym.models.context import estimate_tokens
from metagym.reflectors import ChatReflector
from metagym.spending import Prices
from metagym.types import MetaStep, Record, Trajectory


class Load(Record):
    """What a number of calls takes."""

    num_calls: float
    prompt_tokens: float
    completion_tokens: float

    def times(self, factor: float) -> Load:
        """Return so many times this load."""
        return Load(**{name: value * factor for name, value in dict(self).items()})

    def cost(self, prices: Prices) -> float:
        """Return its price, with nothing cached."""
        return (self.prompt_tokens * prices.prompt + self.completion_tokens * prices.completion) / 1e6


class Estimate(Record):
    """What one meta-step takes: as the pilot played, and where every episode takes all its steps."""

    actor: Load
    actor_at_most: Load
    reflector: Load
    num_pilot_episodes: int
    longest_episode: float
    """Turns, on average over the batches, of the longest episode of a batch: turns cannot overlap."""


def estimate_meta_step(env: MetaEnv, *, reply_tokens: int, reflection_tokens: int = 800, seed: int = 0) -> Estimate:
    """Play one batch with the random actor, without any model, and count what a ChatActor would have sent.

    Token counts are estimates (four bytes a token). The random actor's episodes may be longer or shorter
    than a model's; the upper bound takes `max_steps` turns for each. `env` must have the random actor.

    Raises:
        ConfigError: `env` has another actor.
    """
    if not isinstance(env.actor, RandomActor):
        raise ConfigError(f"The pilot wants an environment with actor='random', got {type(env.actor).__name__}.")
    _, info = env.reset(seed=seed)
    prompt = str(info["default_prompt"])
    trajectories, reward, *_ = env.step(prompt)
    meta_step = MetaStep(index=0, prompt=prompt, trajectories=trajectories, reward=reward)
    nobody = cast(ChatModel, None)  # only the messages are made
    per_episode = [_actor_load(item, ChatActor(nobody), prompt, reply_tokens) for item in trajectories]
    at_most = [_stretch(item, load, env.config.max_steps) for item, load in zip(trajectories, per_episode, strict=True)]
    reflection = estimate_tokens(ChatReflector(nobody).messages(meta_step))
    return Estimate(
        actor=_sum(per_episode),
        actor_at_most=_sum(at_most),
        reflector=Load(num_calls=1, prompt_tokens=reflection, completion_tokens=reflection_tokens),
        num_pilot_episodes=len(trajectories),
        longest_episode=max(len(item.steps) for item in trajectories),
    )


def _actor_load(trajectory: Trajectory, actor: ChatActor, prompt: str, reply_tokens: int) -> Load:
    steps, prompt_tokens = trajectory.steps, 0
    for turn, step in enumerate(steps):
        # The pilot's replies are one bare action each; a model's, of `reply_tokens`, stay in the history.
        prompt_tokens += estimate_tokens(actor.messages(prompt, steps[:turn], step.observation)) + turn * reply_tokens
    return Load(num_calls=len(steps), prompt_tokens=prompt_tokens, completion_tokens=len(steps) * reply_tokens)


def _stretch(trajectory: Trajectory, load: Load, num_turns: int) -> Load:
    """Extend an episode to `num_turns`: the history grows by as much each turn."""
    played = max(1, len(trajectory.steps))
    mean, factor = load.prompt_tokens / played, num_turns / played
    return Load(
        num_calls=num_turns,
        prompt_tokens=max(load.prompt_tokens, num_turns * mean * factor),
        completion_tokens=load.completion_tokens * factor,
    )


def _sum(loads: Sequence[Load]) -> Load:
    return Load(**{name: sum(dict(load)[name] for load in loads) for name in Load.model_fields})


def read_load(rows: Mapping[Any, Any], num_steps: int) -> Load:
    """Return what a meta-step of an earlier run took, from its ledger's rows."""
    usages = [spending.usage for spending in rows.values()]
    return Load(
        num_calls=sum(usage.num_calls for usage in usages) / num_steps,
        prompt_tokens=sum(usage.prompt_tokens for usage in usages) / num_steps,
        completion_tokens=sum(usage.completion_tokens for usage in usages) / num_steps,
    )


def seeds_needed(effect: float, sd: float, *, alpha: float = 0.05, power: float = 0.8) -> int:
    """Return how many seeds a paired comparison needs to find `effect`, where the differences have `sd`.

    Two-sided paired t test over the seeds' differences, exact power (noncentral t). The seed is the
    replicate: episodes within a seed are not independent.
    Source: Cohen 1988, Statistical Power Analysis, sec. 2.3.

    >>> seeds_needed(0.05, 0.1), seeds_needed(0.1, 0.1)
    (34, 10)

    Raises:
        ConfigError: a number is out of its range.
    """
    if not (effect > 0 and sd > 0 and 0 < alpha < 1 and 0 < power < 1):
        raise ConfigError(f"Expected effect, sd > 0 and 0 < alpha, power < 1, got {effect}, {sd}, {alpha}, {power}.")
    low, high = 1, 2
    while _power(high, effect / sd, alpha) < power:
        low, high = high, high * 2
        if high > 2**20:
            raise ConfigError(f"An effect of {effect:g} at sd {sd:g} needs more than a million seeds: too small.")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _power(middle, effect / sd, alpha) >= power else (middle, high)
    return high


def _power(num_seeds: int, effect: float, alpha: float) -> float:
    """Return the power of the two-sided paired t test, by integrating over the estimated deviation."""
    nu, shift = num_seeds - 1, effect * math.sqrt(num_seeds)
    scale = np.linspace(1e-6, 1 + 12 / math.sqrt(2 * nu), 800)  # estimated over true deviation
    log_density = (nu - 1) * np.log(scale) - nu * scale**2 / 2
    weights = np.exp(log_density - log_density.max())
    weights /= weights.sum()

    def cdf(t: float, mean: float) -> float:
        return float(weights @ _normal_cdf(t * scale - mean))

    low, high = 0.0, 1e4  # the critical value lies between
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if cdf(middle, 0.0) < 1 - alpha / 2 else (low, middle)
    return 1 - cdf(high, shift) + cdf(-high, shift)


def _normal_cdf(z: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in z])
