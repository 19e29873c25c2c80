"""Estimate the calls, tokens and money of a run before it starts. No model is called."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

from metagym.actor import ChatActor, RandomActor, ToolActor, tools_at
from metagym.budget import Prices
from metagym.env import MetaEnv
from metagym.errors import ConfigError
from metagym.models import ChatModel, estimate_tokens
from metagym.models.asking import conversation_of
from metagym.reflectors import ChatReflector
from metagym.runs.earlier_use import load_ledger
from metagym.runs.folder import RunFolder
from metagym.types import MetaStep, Record, Reflection, Trajectory, Usage


class Load(Record):
    """A number of model calls and their tokens."""

    num_calls: float
    prompt_tokens: float
    completion_tokens: float

    def times(self, factor: float) -> Load:
        """Return this load, multiplied by `factor`."""
        return Load(**{name: value * factor for name, value in dict(self).items()})

    def __add__(self, other: Load) -> Load:
        return _sum((self, other))

    def cost(self, prices: Prices) -> float:
        """Return the price if no token comes from a cache."""
        return (self.prompt_tokens * prices.prompt + self.completion_tokens * prices.completion) / 1e6


class CostEstimate(Record):
    """The load of one meta-step: as in the pilot, and at most, if every episode uses all its steps."""

    actor: Load
    actor_at_most: Load
    reflector: Load
    num_pilot_episodes: int
    longest_episode: float
    """Steps of the longest episode of the batch: the steps of an episode cannot overlap."""


def estimate_meta_step(env: MetaEnv, *, reply_tokens: int, reflection_tokens: int = 800, seed: int = 0) -> CostEstimate:
    """Play one batch with the random actor, without any model, and count the messages that a `ChatActor` would send.

    Token counts are estimates (four bytes a token). Episodes of the random actor, the only one that `env` may have,
    can be longer or shorter than those of a model; the upper bound takes `max_steps` steps for each.
    """
    if not isinstance(env.actor, RandomActor):
        raise ConfigError(f"Expected an environment with actor='random', got {type(env.actor).__name__}.")
    _, info = env.reset(seed=seed)
    prompt = str(info["default_prompt"])
    with _quiet():  # that random actions are invalid is no news
        trajectories, reward, *_ = env.step(prompt)
    meta_step = MetaStep(index=0, prompt=prompt, trajectories=trajectories, reward=reward)
    no_model = cast(ChatModel, None)  # only the messages are made
    per_episode = [_actor_load(item, no_model, prompt, reply_tokens) for item in trajectories]
    at_most = [_stretch(item, load, env.config.max_steps) for item, load in zip(trajectories, per_episode, strict=True)]
    reflection = estimate_tokens(ChatReflector(no_model).messages(meta_step))
    return CostEstimate(
        actor=_sum(per_episode),
        actor_at_most=_sum(at_most),
        reflector=Load(num_calls=1, prompt_tokens=reflection, completion_tokens=reflection_tokens),
        num_pilot_episodes=len(trajectories),
        longest_episode=max(len(item.steps) for item in trajectories),
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    log = logging.getLogger("metagym.meta_episode")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def _actor_load(trajectory: Trajectory, no_model: ChatModel, prompt: str, reply_tokens: int) -> Load:
    steps, prompt_tokens = trajectory.steps, 0
    tools = tools_at(steps, steps[-1].observation) if steps else None
    actor = ChatActor(no_model) if tools is None else ToolActor(no_model)
    offered = estimate_tokens(conversation_of({"messages": (), "tools": tools}))
    for turn, step in enumerate(steps):
        # A reply of the pilot is one action; a reply of a model has `reply_tokens` and stays in the history.
        messages = actor.messages(prompt, steps[:turn], step.observation)
        prompt_tokens += estimate_tokens(messages) + offered + turn * reply_tokens
    return Load(num_calls=len(steps), prompt_tokens=prompt_tokens, completion_tokens=len(steps) * reply_tokens)


def _stretch(trajectory: Trajectory, load: Load, num_turns: int) -> Load:
    """Extend an episode to `num_turns`; the history grows by the same amount in each turn."""
    played = max(1, len(trajectory.steps))
    mean, factor = load.prompt_tokens / played, num_turns / played
    return Load(
        num_calls=num_turns,
        prompt_tokens=max(load.prompt_tokens, num_turns * mean * factor),
        completion_tokens=load.completion_tokens * factor,
    )


def _sum(loads: Sequence[Load]) -> Load:
    return Load(**{name: sum(dict(load)[name] for load in loads) for name in Load.model_fields})


def loads_of_run(path: Path) -> tuple[Load, Load]:
    """Return the loads of one episode (the actor's) and of one reflection (all other calls) of an earlier run."""
    with RunFolder.open(path) as run:
        num_episodes = run.num_episodes
        # An optimizer of another package, such as GEPA, records no reflections: those that were asked for count.
        num_reflections = len(run.all(Reflection)) or run.manifest.size[0]
    spent = {True: Usage(), False: Usage()}
    for (role, *_), spending in load_ledger(path).rows().items():
        spent[role == "actor"] += spending.usage
    names = ("num_calls", "prompt_tokens", "completion_tokens")
    actor, others = (Load(**{name: getattr(spent[is_actor], name) for name in names}) for is_actor in (True, False))
    return actor.times(1 / max(1, num_episodes)), others.times(1 / max(1, num_reflections))


def cost_of(loads: Sequence[Load], prices: Sequence[Prices | None]) -> float | None:
    """Return the cost of the loads, each at its own price; None if a load has calls and no price."""
    cost = 0.0
    for load, price in zip(loads, prices, strict=True):
        if price is not None:
            cost += load.cost(price)
        elif load.num_calls:
            return None
    return cost
