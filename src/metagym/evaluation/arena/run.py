"""Runs the arena: every method, an optimizer around a reflector, is an evaluated arm in a folder of run folders.

OUT/ENV-kK/METHOD/     one run folder per environment, k and method (or control), as `metagym evaluate` writes them
OUT/ENV-kK/arena.json  the standings and the curves; beside it arena.md, arena.csv and, with matplotlib, arena.png

An arena that was stopped resumes when it is run again with the same folder.
"""

from __future__ import annotations

import functools
import importlib.util
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import gymnasium

from metagym.actor import ActorSpec
from metagym.budget import Budget
from metagym.env import MetaEnv
from metagym.errors import ConfigError
from metagym.evaluation.arena.standings import Standings, build_standings
from metagym.evaluation.campaign import (
    OnArm,
    OnEpisode,
    check_configs,
    control_arms,
    evaluate_arms,
    manifest_of,
    opened,
)
from metagym.evaluation.campaign_folder import check_begun, folder_name, folder_of
from metagym.evaluation.config import EvaluationConfig
from metagym.evaluation.controls import WITHOUT_REFLECTION, Arm
from metagym.evaluation.output.exports import write_standings
from metagym.evaluation.preset import Preset, PresetEnvironment, with_members, with_sampling
from metagym.evaluation.report import EvaluationReport
from metagym.imports import missing_extra
from metagym.optimizers import BestOfN, Gepa, InTurn, Optimizer
from metagym.reflectors import Reflector, make_reflector, method_names, takes_model
from metagym.runs.earlier_use import load_usage

BASELINE: Final = "fixed"
"""The method that changes nothing; the others are paired with it."""
GEPA: Final = "gepa"
_AROUND = re.compile(r"best_of_n\((?P<inner>[^()]+)\)")
ENDPOINT = (
    "test score of the prompt that the method hands over, minus test score of sp_0 on the same tasks, averaged over "
    "families of equal weight; one number per seed"
)


class Entrant(NamedTuple):
    """One method of the arena: an optimizer around a reflector, with a name."""

    name: str
    reflector: Reflector
    optimizer: Optimizer


class Bout(NamedTuple):
    """The arena on one environment and k."""

    folder: Path
    reports: tuple[EvaluationReport, ...]
    standings: Standings


def run_arena(
    preset: Preset,
    methods: Sequence[str | Entrant],
    *,
    actor: ActorSpec,
    model: Mapping[str, Any] | None = None,
    path: str | Path,
    limits: Mapping[str, Any] | None = None,
    on_arm: OnArm | None = None,
    on_episode: OnEpisode | None = None,
) -> list[Bout]:
    """Run the methods by the preset, each meta-episode within its learning budget, and return the standings.

    `methods` are names (see `make_entrants`), and your own entrants, which come after them. The preset's `budget`
    holds for each meta-episode (see `arena_config`); its `controls` are played around the first method that is not
    `fixed`. `limits` (tokens, calls, cost, episodes) hold for everything that is played on one environment and k.
    `on_arm` is called with the name of each arm and the most episodes that it plays.
    """
    if preset.protocol != "ict":
        raise ConfigError(
            f"Expected a preset of the protocol 'ict' for the arena, got {preset.protocol!r} ({preset.name}). Run it "
            "by `metagym evaluate`."
        )
    actor, model = with_sampling(actor, preset.sampling), with_sampling(model, preset.reflector_sampling)
    check_configs(arena_configs(preset), actor, controls=preset.controls)
    places = arena_configs(with_members(preset))
    for environment, config in places:
        folder = folder_of(path, environment, config)
        if folder.exists():
            with opened(environment, config.num_steps, actor) as (env, meta_env):
                entrants = _entrants(methods, model, meta_env, config)
                arms = _arms(env, entrants, environment, config, preset.controls, folder, is_playing=False)
                check_begun(folder, arms, functools.partial(manifest_of, env, config))
    bouts = []
    for environment, config in places:
        folder = folder_of(path, environment, config)
        with opened(environment, config.num_steps, actor, budget=limits, on_episode=on_episode) as (env, meta_env):
            load_usage(folder, meta_env.ledger)
            entrants = _entrants(methods, model, meta_env, config)
            arms = _arms(env, entrants, environment, config, preset.controls, folder)
            reports = evaluate_arms(env, arms, config, folder, on_arm)
        standings = build_standings(reports, folder.name, baseline=BASELINE)
        write_standings(standings, folder)
        bouts.append(Bout(folder, tuple(reports), standings))
    return bouts


def _arms(
    env: gymnasium.Env[Any, Any],
    entrants: Sequence[Entrant],
    environment: PresetEnvironment,
    config: EvaluationConfig,
    controls: Sequence[str],
    folder: Path,
    *,
    is_playing: bool = True,
) -> Iterator[Arm]:
    """Yield the arms of the methods, and then the controls around the first one that is not `fixed`."""
    yield from (Arm(item.name, item.reflector, optimizer=item.optimizer) for item in entrants)
    around = next((item for item in entrants if item.name != BASELINE), entrants[0])
    about = (environment, config, controls, folder, around.name)
    for arm in control_arms(env, around.reflector, *about, is_playing=is_playing):
        yield arm._replace(name=f"{arm.name} ({around.name})", optimizer=_optimizer_of(arm, around, config))


def _optimizer_of(control: Arm, around: Entrant, config: EvaluationConfig) -> Optimizer:
    """Return the optimizer of a control around a method. GEPA has nothing to ask if the control has no reflector."""
    if control.name in WITHOUT_REFLECTION and isinstance(around.optimizer, Gepa):
        return InTurn(config.num_steps)
    return around.optimizer


def make_entrants(
    names: Sequence[str],
    *,
    model: Mapping[str, Any] | None = None,
    demo: Callable[[], Reflector] | None = None,
    num_steps: int = 10,
) -> list[Entrant]:
    """Return the methods with these names. If `fixed` is missing, it is put first: the others are paired with it.

    A name is that of a method (`ict`), `best_of_n(NAME)` around one, `gepa`, `demo`, or the import path of a reflector;
    `all` means every method that is installed. `model` is the spec of the chat model that methods ask.
    """
    expanded = _expanded(names)
    if len(set(expanded)) < len(expanded):
        twice = sorted({name for name in expanded if expanded.count(name) > 1})
        raise ConfigError(f"Expected each method once, got {', '.join(map(repr, twice))} twice. Leave one out.")
    return [_entrant(name, model, demo, num_steps) for name in expanded]


def num_entrants(names: Sequence[str]) -> int:
    """Return how many methods these names mean: `all` is every one, and `fixed` always takes part."""
    return len(_expanded(names))


def _expanded(names: Sequence[str]) -> list[str]:
    expanded = [name for given in names for name in (all_names() if given == "all" else (given,))]
    return expanded if BASELINE in expanded else [BASELINE, *expanded]


def all_names() -> tuple[str, ...]:
    """Return the names of every method that is installed, the optimizers last."""
    return (*method_names(), "best_of_n(ict)", *((GEPA,) if _has_gepa() else ()))


def arena_configs(preset: Preset) -> list[tuple[PresetEnvironment, EvaluationConfig]]:
    """Return the evaluations of a preset in an arena; see `arena_config`."""
    return [(environment, arena_config(config, preset.budget)) for environment, config in preset.configs()]


def arena_config(config: EvaluationConfig, budget: Budget | None) -> EvaluationConfig:
    """Return the protocol of an arena: a learning budget for each meta-episode, and the last prompt decides.

    N, the number of meta-steps, is the number of batches that the budget's episodes cover. Without such a limit N is
    that of the config, and the episodes of N batches are the limit.
    """
    limits, k = budget or Budget(), config.episodes_per_step
    if limits.episodes is None:
        limits = limits.model_copy(update={"episodes": config.num_steps * k})
    num_steps = max(1, (limits.episodes or 0) // k)
    update = {"learning_budget": limits, "num_steps": num_steps, "replay": False, "primary_endpoint": ENDPOINT}
    return config.model_copy(update=update)


def _entrants(
    methods: Sequence[str | Entrant], model: Mapping[str, Any] | None, env: MetaEnv, config: EvaluationConfig
) -> list[Entrant]:
    names = [item for item in methods if isinstance(item, str)]
    own = [item for item in methods if isinstance(item, Entrant)]
    named = make_entrants(names, model=model, demo=env.make_demo_reflector, num_steps=config.num_steps)
    entrants = [*named, *own]
    folders = [folder_name(item.name) for item in entrants]
    twice = sorted({item.name for item in entrants if folders.count(folder_name(item.name)) > 1})
    if twice:
        raise ConfigError(f"Expected methods whose names give different folders, got {', '.join(twice)}. Rename one.")
    return entrants


def _entrant(
    name: str, model: Mapping[str, Any] | None, demo: Callable[[], Reflector] | None, num_steps: int
) -> Entrant:
    around = _AROUND.fullmatch(name)
    if around is not None:
        return Entrant(name, _reflector(around["inner"], model, demo), BestOfN(num_steps=num_steps))
    if name == GEPA:
        if not _has_gepa():
            raise missing_extra("gepa", "gepa")
        return Entrant(name, _reflector("ict", model, demo), Gepa())
    return Entrant(name, _reflector(name, model, demo), InTurn(num_steps))


def _reflector(name: str, model: Mapping[str, Any] | None, demo: Callable[[], Reflector] | None) -> Reflector:
    wants_model = name in method_names() and takes_model(name)
    return make_reflector({"method": name, **(model or {})} if wants_model else name, demo=demo)


def _has_gepa() -> bool:
    return importlib.util.find_spec("gepa") is not None
