"""A campaign: a preset, an actor and a reflector, evaluated with its control arms into a folder of run folders."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import gymnasium

from metagym.actor import ActorSpec
from metagym.env import MetaEnv, meta_env_of
from metagym.errors import ConfigError, UnknownNameError
from metagym.evaluation import evaluate
from metagym.evaluation.campaign_folder import (
    ReflectorArgument,
    arm_name,
    check_begun,
    folder_name,
    folder_of,
    keep_campaign,
    read_reflector,
    with_added_seeds,
)
from metagym.evaluation.comparison import Comparison, compare
from metagym.evaluation.config import EvaluationConfig
from metagym.evaluation.constant_prompt import (
    recorded_constant_prompt,
    tune_constant_prompt,
    tuning_config,
    tuning_folder,
)
from metagym.evaluation.controls import CONTROLS, Arm, check_control, control_arm, long_prompt
from metagym.evaluation.family_stream import (
    StreamComparison,
    StreamReport,
    compare_streams,
    evaluate_stream,
    prepare_stream,
)
from metagym.evaluation.plan import Plan
from metagym.evaluation.preset import Preset, PresetEnvironment, check_once, with_members, with_sampling
from metagym.evaluation.protocol import prepare_evaluation
from metagym.evaluation.report import EvaluationReport
from metagym.evaluation.store import read_report
from metagym.reflectors import Reflector, make_reflector
from metagym.registration import RESERVED, check_options, make
from metagym.runs import MANIFEST, Manifest, evaluation_size
from metagym.runs.earlier_use import load_usage
from metagym.types import Trajectory

_RESERVED = {
    **RESERVED,
    "families": "write families in the table of the environment",
    "episodes_per_step": "write episodes_per_step = [k, ...] at the top of the preset",
    "split": "a protocol plays the train, the validation and the test tasks",
    "schedule": "a protocol plays fresh tasks in each meta-step",
}
"""Options that a protocol sets itself, so that a preset cannot."""
OnArm = Callable[[str, int], Any]
OnEpisode = Callable[[Trajectory], None]


class Streamed(NamedTuple):
    """One environment and k of a stream: the reports of its arms, the reflector's first, and their comparisons."""

    folder: Path
    reports: tuple[StreamReport, ...]
    comparisons: tuple[StreamComparison, ...]


class Evaluated(NamedTuple):
    """One environment and k of a campaign: the reports of its arms, the reflector's first, and their comparisons."""

    folder: Path
    reports: tuple[EvaluationReport, ...]
    comparisons: tuple[Comparison, ...]


def run_campaign(
    preset: Preset,
    *,
    actor: ActorSpec,
    reflector: ReflectorArgument,
    path: str | Path,
    controls: Sequence[str] | None = None,
    budget: Mapping[str, Any] | None = None,
    on_arm: OnArm | None = None,
    on_episode: OnEpisode | None = None,
) -> list[Evaluated]:
    """Evaluate the reflector by the preset, with its controls (or those given), and compare it with each.

    `budget` (tokens, calls, cost) holds for each environment and k. `on_arm` is called with the name of each arm and
    its number of episodes before it is played. A second call with the same folder resumes an interrupted campaign.
    """
    wanted = preset.controls if controls is None else tuple(controls)
    actor = with_sampling(actor, preset.sampling)
    spec = with_sampling(read_reflector(reflector), preset.reflector_sampling)
    check_configs(preset.configs(), actor, controls=wanted)
    preset = with_members(preset)
    about = {"preset": preset, "actor": actor, "reflector": reflector, "controls": wanted, "budget": dict(budget or {})}
    places = [_seeds_of_folder(place, Path(path), spec) for place in preset.configs()]
    for environment, config in places:
        check_begun_arms(spec, environment, config, actor, wanted, folder_of(path, environment, config))
    keep_campaign(Path(path), about)
    found = []
    for environment, config in places:
        folder = folder_of(path, environment, config)
        with opened(environment, config.num_steps, actor, budget=budget, on_episode=on_episode) as (env, meta_env):
            load_usage(folder, meta_env.ledger)
            arms = arms_of(env, spec, environment, config, wanted, folder)
            reports = evaluate_arms(env, arms, config, folder, on_arm)
        comparisons = compare(reports) if len(reports) > 1 else ()
        found.append(Evaluated(folder, tuple(reports), comparisons))
    return found


def check_begun_arms(
    spec: ReflectorArgument,
    environment: PresetEnvironment,
    config: EvaluationConfig,
    actor: ActorSpec,
    controls: Sequence[str],
    folder: Path,
    *,
    adds_seeds: bool = False,
) -> None:
    """Raise RunFolderError if an arm in the folder was begun with other settings. Nothing is played."""
    if not folder.exists():
        return
    with opened(environment, config.num_steps, actor) as (env, _):
        arms = arms_of(env, spec, environment, config, controls, folder, is_playing=False)
        check_begun(folder, arms, functools.partial(manifest_of, env, config), adds_seeds=adds_seeds)


def manifest_of(env: gymnasium.Env[Any, Any], config: EvaluationConfig, arm: Arm) -> Manifest:
    """Return the manifest of an arm as it would be evaluated now."""
    return prepare_evaluation(env, arm.reflector, config, **_about(arm)).manifest


def _seeds_of_folder(
    place: tuple[PresetEnvironment, EvaluationConfig], path: Path, spec: ReflectorArgument
) -> tuple[PresetEnvironment, EvaluationConfig]:
    return place[0], with_added_seeds(place[1], folder_of(path, *place) / folder_name(arm_name(spec)))


def run_streams(
    preset: Preset,
    *,
    actor: ActorSpec,
    reflector: ReflectorArgument,
    path: str | Path,
    controls: Sequence[str] | None = None,
    budget: Mapping[str, Any] | None = None,
    on_arm: OnArm | None = None,
    on_episode: OnEpisode | None = None,
) -> list[Streamed]:
    """Run the reflector and its controls over the streams of a preset of the protocol `stream`; see `run_campaign`."""
    wanted = preset.controls if controls is None else tuple(controls)
    if unfit := {"other family", "constant prompt", "long prompt"} & set(wanted):
        raise ConfigError(f"A stream goes through all families: the controls {sorted(unfit)} have no meaning there.")
    actor = with_sampling(actor, preset.sampling)
    check_configs(preset.configs(), actor, controls=wanted)
    preset = with_members(preset)
    spec = with_sampling(read_reflector(reflector), preset.reflector_sampling)
    for environment, config in preset.configs():
        if (folder := folder_of(path, environment, config)).exists():
            with opened(environment, config.num_steps * len(config.families), actor) as (env, _):
                arms = _stream_arms(env, spec, wanted)
                check_begun(folder, arms, functools.partial(_stream_manifest, env, config))
    found = []
    for environment, config in preset.configs():
        length = config.num_steps * len(config.families)
        folder = folder_of(path, environment, config)
        with opened(environment, length, actor, budget=budget, on_episode=on_episode) as (env, meta_env):
            load_usage(folder, meta_env.ledger)
            reports = []
            for arm in _stream_arms(env, spec, wanted):
                if on_arm is not None:
                    blocks = len(config.families)
                    tests = blocks * (blocks + 1) * config.num_test
                    on_arm(arm.name, config.num_seeds * (length * config.episodes_per_step + tests))
                place = folder / folder_name(arm.name)
                reports.append(
                    evaluate_stream(env, arm.reflector, config=config, arm=arm.name, kind=arm.kind, path=place)
                )
        found.append(Streamed(folder, tuple(reports), compare_streams(reports)))
    return found


def _stream_arms(env: gymnasium.Env[Any, Any], spec: ReflectorArgument, controls: Sequence[str]) -> list[Arm]:
    policy = make_reflector(spec, demo=meta_env_of(env).make_demo_reflector)
    return [Arm(arm_name(spec), policy), *(control_arm(name, policy) for name in controls)]


def _stream_manifest(env: gymnasium.Env[Any, Any], config: EvaluationConfig, arm: Arm) -> Manifest:
    return prepare_stream(env, arm.reflector, config, arm=arm.name, kind=arm.kind).manifest


def check_configs(
    configs: Sequence[tuple[PresetEnvironment, EvaluationConfig]], actor: ActorSpec, *, controls: Sequence[str] = ()
) -> None:
    """Check, before the first episode, that all exists that a preset asks for, and that its controls can be made."""
    check_names(configs, controls)
    for environment, config in configs:
        check_options(environment.id, environment.options, reserved=_RESERVED)
        with opened(environment, config.num_steps, actor) as (_, meta_env):
            families = Plan(meta_env, config, {}, arm="").config.families
            train = _train_families(meta_env, environment)
            for name in controls:
                k = config.episodes_per_step
                check_control(name, families=families, train_families=train, episodes_per_step=k)
            if "constant prompt" in controls:
                Plan(meta_env, tuning_config(config, train), {}, arm="")


def check_names(configs: Sequence[tuple[PresetEnvironment, EvaluationConfig]], controls: Sequence[str] = ()) -> None:
    """Check that each control exists, and that no two evaluations or arms would have the same folder."""
    for control in controls:
        if control not in CONTROLS:
            raise UnknownNameError.of("control", control, CONTROLS)
    check_once("control", controls)
    folders = [folder_of("", *config).name for config in configs]
    for number, folder in enumerate(folders):
        if folder in folders[:number]:
            raise ConfigError(
                f"Expected environments and k whose records have different folders, got {folder} twice. Put the "
                "families of one environment into one table, or evaluate them by two presets."
            )


@contextlib.contextmanager
def opened(
    environment: PresetEnvironment,
    num_steps: int,
    actor: ActorSpec,
    *,
    budget: Mapping[str, Any] | None = None,
    on_episode: OnEpisode | None = None,
) -> Iterator[tuple[gymnasium.Env[Any, str], MetaEnv]]:
    """Make a preset's environment, as gymnasium wraps it and without the wrappers; close it in the end."""
    options = {**environment.options, "actor": actor, "budget": dict(budget or {})}
    with contextlib.closing(make(environment.id, num_steps=num_steps, **options)) as env:
        meta_env = cast(MetaEnv, env.unwrapped)
        meta_env.on_episode = on_episode
        yield env, meta_env


def evaluate_arms(
    env: gymnasium.Env[Any, Any], arms: Iterable[Arm], config: EvaluationConfig, folder: Path, on_arm: OnArm | None
) -> list[EvaluationReport]:
    """Evaluate each arm into its own run folder."""
    reports = []
    for arm in arms:
        if on_arm is not None:
            on_arm(arm.name, evaluation_size(dict(config), has_kinds=meta_env_of(env).task_set.names_kinds)[1])
        place = folder / folder_name(arm.name)
        reports.append(evaluate(env, arm.reflector, config=config, path=place, **_about(arm)))
    return reports


def _about(arm: Arm) -> dict[str, Any]:
    return {"arm": arm.name, "kind": arm.kind, "learn_from": arm.learn_from, "optimizer": arm.optimizer}


def arms_of(
    env: gymnasium.Env[Any, Any],
    spec: ReflectorArgument,
    environment: PresetEnvironment,
    config: EvaluationConfig,
    controls: Sequence[str],
    folder: Path,
    *,
    is_playing: bool = True,
) -> Iterator[Arm]:
    """Return the arm of the reflector, and then its control arms; see `control_arms`."""
    own = Arm(arm_name(spec), make_reflector(spec, demo=meta_env_of(env).make_demo_reflector))
    about = (environment, config, controls, folder, own.name)
    return itertools.chain([own], control_arms(env, own.reflector, *about, is_playing=is_playing))


def control_arms(
    env: gymnasium.Env[Any, Any],
    reflector: Reflector,
    environment: PresetEnvironment,
    config: EvaluationConfig,
    controls: Sequence[str],
    folder: Path,
    around: str,
    *,
    is_playing: bool = True,
) -> Iterator[Arm]:
    """Yield the control arms around the reflector, whose own arm `around` is finished when the first is asked for.

    The constant prompt is tuned, in the folder, just before its arm. If not `is_playing`, nothing is played: an arm
    whose prompt is only partly known is left out, and without a record a prompt is `sp_0`.
    """
    families, prompt = meta_env_of(env).task_set.expand_families(config.families), None
    train = _train_families(meta_env_of(env), environment)
    first = meta_env_of(env).default_prompt if config.first_prompt is None else config.first_prompt
    for control in controls:
        if control == "constant prompt":
            place = tuning_folder(folder, folder_name(around), reflector)
            about: dict[str, Any] = {"train_families": train, "config": config, "path": place}
            if is_playing:
                prompt = tune_constant_prompt(env, reflector, **about).prompt
            else:
                prompt = recorded_constant_prompt(env, reflector, **about) if (place / MANIFEST).exists() else first
        elif control == "long prompt":
            prompt = _long_prompt(first, folder / folder_name(around))
        if prompt is not None or control not in ("constant prompt", "long prompt"):
            yield control_arm(control, reflector, families=families, other_families=train, constant_prompt=prompt)


def _train_families(env: MetaEnv, environment: PresetEnvironment) -> tuple[str, ...]:
    return env.task_set.expand_families(environment.train_families) if environment.train_families else ()


def _long_prompt(first: str, own: Path) -> str | None:
    """Return the long prompt beside an arm, by the seeds that it began with: it stays as it is if seeds are added.

    None while the arm has only a part of these seeds.
    """
    if not (own / MANIFEST).exists():
        return first
    report = read_report(own)
    end = report.config.first_seed + report.looks[0]
    prompts = [item.last_prompt for item in report.prompts if item.seed < end]
    return long_prompt(first, prompts) if len(prompts) == len(report.families) * report.looks[0] else None
