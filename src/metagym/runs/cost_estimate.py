"""What a run will take, before it starts: calls, tokens, money, time; and how many seeds an effect needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from metagym.actors import ChatActor, RandomActor
from metagym.budget import Prices
from metagym.env import MetaEnv
from metagym.errors import ConfigError
from metagym.models import ChatModel, estimate_tokens
from metagym.reflectors import ChatReflector
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


class CostEstimate(Record):
    """What one meta-step takes: as the pilot played, and where every episode takes all its steps."""

    actor: Load
    actor_at_most: Load
    reflector: Load
    num_pilot_episodes: int
    longest_episode: float
    """Turns, on average over the batches, of the longest episode of a batch: turns cannot overlap."""


def estimate_meta_step(env: MetaEnv, *, reply_tokens: int, reflection_tokens: int = 800, seed: int = 0) -> CostEstimate:
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
    return CostEstimate(
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
