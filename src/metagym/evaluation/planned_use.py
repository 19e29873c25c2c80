"""The usage of a protocol, before it starts: episodes, reflections, calls, tokens and money. No model is called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from metagym.budget import Prices
from metagym.env import meta_env_of
from metagym.evaluation.config import EvaluationConfig
from metagym.evaluation.constant_prompt import tuning_config
from metagym.evaluation.controls import WITHOUT_REFLECTION
from metagym.evaluation.preset import PresetEnvironment
from metagym.registration import find_class, make
from metagym.runs import evaluation_size
from metagym.runs.cost_estimate import Load, cost_of, estimate_meta_step, loads_of_run
from metagym.runs.manifest import num_tuning_episodes
from metagym.types import Record, Text


class PlannedUse(Record):
    """What will be played on one environment with one batch size k, all arms together."""

    environment: Text
    episodes_per_step: int
    num_families: int
    num_seeds: int
    num_arms: int
    num_episodes: int
    """The most episodes: equal prompts are validated once, so that fewer may be played. Those that a reflector plays
    on its own come on top, unless a learning budget limits the episodes."""
    num_reflections: int
    load: Load | None = None
    """Calls and tokens of actor and reflector, if they were estimated."""
    cost: float | None = None
    """The price of the load, if the prices are known."""


def plan(
    configs: Sequence[tuple[PresetEnvironment, EvaluationConfig]],
    *,
    controls: Sequence[str] = (),
    num_methods: int = 1,
    is_stream: bool = False,
) -> list[PlannedUse]:
    """Return the episodes of each of a preset's evaluations: `num_methods` arms, and the controls around the first."""
    found = []
    for environment, config in configs:
        num_loops, num_arms = len(config.families) * config.num_seeds, num_methods + len(controls)
        reflecting = num_methods + sum(name not in WITHOUT_REFLECTION for name in controls)
        has_kinds = _names_kinds(environment)
        num_episodes = num_arms * evaluation_size(dict(config), is_stream=is_stream, has_kinds=has_kinds)[1]
        num_reflections = reflecting * num_loops * config.num_steps
        if "constant prompt" in controls and (train := environment.train_families):
            tuning = dict(tuning_config(config, train))
            num_episodes += evaluation_size(tuning, has_kinds=has_kinds)[1] + num_tuning_episodes(tuning)
            num_reflections += len(train) * config.num_steps
        found.append(
            PlannedUse(
                environment=environment.id,
                episodes_per_step=config.episodes_per_step,
                num_families=len(config.families),
                num_seeds=config.num_seeds,
                num_arms=num_arms,
                num_episodes=num_episodes,
                num_reflections=num_reflections,
            )
        )
    return found


def _names_kinds(environment: PresetEnvironment) -> bool:
    named = find_class(environment.id).names_kinds
    if named is None:
        with make(environment.id, actor="random", **environment.options) as env:
            named = meta_env_of(env).task_set.names_kinds
    return named


def with_loads(
    planned: Sequence[PlannedUse],
    configs: Sequence[tuple[PresetEnvironment, EvaluationConfig]],
    *,
    reply_tokens: int,
    reflection_tokens: int,
    prices: tuple[Prices | None, Prices | None] = (None, None),
    like: Path | None = None,
) -> list[PlannedUse]:
    """Return the plans with calls, tokens and cost, by the lengths of random episodes or of the earlier run `like`.

    `prices` are those of the actor's and of the reflector's model.
    """
    earlier = None if like is None else loads_of_run(like)
    pilots: dict[str, tuple[Load, Load]] = {}
    found = []
    for item, (environment, config) in zip(planned, configs, strict=True):
        key = environment.model_dump_json()
        if earlier is None and key not in pilots:
            pilots[key] = _pilot(environment, config, reply_tokens, reflection_tokens)
        per_episode, per_reflection = earlier or pilots[key]
        loads = per_episode.times(item.num_episodes), per_reflection.times(item.num_reflections)
        found.append(item.model_copy(update={"load": loads[0] + loads[1], "cost": cost_of(loads, prices)}))
    return found


def _pilot(
    environment: PresetEnvironment, config: EvaluationConfig, reply_tokens: int, reflection_tokens: int
) -> tuple[Load, Load]:
    """Return the loads of one episode and of one reflection."""
    options = {**environment.options, "families": list(config.families), "episodes_per_step": config.episodes_per_step}
    with make(environment.id, actor="random", **options) as env:
        estimate = estimate_meta_step(meta_env_of(env), reply_tokens=reply_tokens, reflection_tokens=reflection_tokens)
    return estimate.actor.times(1 / estimate.num_pilot_episodes), estimate.reflector
