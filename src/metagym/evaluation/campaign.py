"""A campaign: a preset, an actor and a reflector, evaluated with its control arms into a folder of run folders.

OUT/campaign.json   the preset and the models, so that `metagym extend` can add seeds
OUT/ENV-kK/ARM/     one run folder per environment, k and arm; an interrupted campaign resumes in them
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import gymnasium

from metagym.actor import ActorSpec
from metagym.env import MetaEnv, meta_env_of
from metagym.errors import ConfigError, RunFolderError, UnknownNameError
from metagym.evaluation import evaluate
from metagym.evaluation.comparison import Comparison, compare
from metagym.evaluation.config import EvaluationConfig
from metagym.evaluation.constant_prompt import tune_constant_prompt, tuning_config, tuning_folder
from metagym.evaluation.controls import CONTROLS, Arm, check_control, control_arm, long_prompt
from metagym.evaluation.family_stream import StreamComparison, StreamReport, compare_streams, evaluate_stream
from metagym.evaluation.plan import Plan
from metagym.evaluation.preset import Preset, PresetEnvironment, check_once, with_members, with_sampling
from metagym.evaluation.protocol import Prepared, prepare_evaluation
from metagym.evaluation.report import EvaluationReport
from metagym.evaluation.store import read_report
from metagym.files import write_whole
from metagym.reflectors import Reflector, make_reflector, method_names
from metagym.registration import RESERVED, check_options, make
from metagym.runs import MANIFEST, evaluation_size
from metagym.runs.earlier_use import load_usage
from metagym.types import SCHEMA_VERSION, Json, Record, Text, Texts, Trajectory

_MODEL_FILES = ("config.json", "adapter_config.json", "metagym.json")
"""Each of these marks the folder of a model: as transformers or peft save it, or as `metagym train` names one."""
ReflectorArgument = Reflector | Mapping[str, Any] | str
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


CAMPAIGN = "campaign.json"


class Campaign(Record):
    """The arguments of a campaign, if all of it can be written down."""

    schema_version: Literal[1] = SCHEMA_VERSION
    preset: Preset
    actor: Json
    reflector: Json
    controls: Texts
    budget: dict[Text, Json] = {}


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
    spec = with_sampling(_read_reflector(reflector), preset.reflector_sampling)
    check_configs(preset.configs(), actor, controls=wanted)
    preset = with_members(preset)
    _keep_campaign(Path(path), preset, actor, reflector, wanted, budget)
    found = []
    for environment, config in preset.configs():
        folder = folder_of(path, environment, config)
        with opened(environment, config.num_steps, actor, budget=budget, on_episode=on_episode) as (env, meta_env):
            load_usage(folder, meta_env.ledger)
            arms = arms_of(env, spec, environment, config, wanted, folder)
            reports = evaluate_arms(env, arms, config, folder, on_arm)
        comparisons = compare(reports) if len(reports) > 1 else ()
        found.append(Evaluated(folder, tuple(reports), comparisons))
    return found


def check_campaign(campaign: Campaign, path: str | Path, check: Callable[[Path, Prepared], Any]) -> None:
    """Call `check` with the folder of each arm, and with the arm as it would be evaluated now."""
    preset = campaign.preset
    spec = with_sampling(_read_reflector(campaign.reflector), preset.reflector_sampling)
    for environment, config in preset.configs():
        folder = folder_of(path, environment, config)
        for name in (_arm_name(spec), *campaign.controls):
            if not (folder / folder_name(name) / MANIFEST).exists():
                raise RunFolderError(
                    f"Expected every arm of the campaign to be finished; {name!r} has not begun in {folder}. Finish it "
                    "first: give the command again that began it."
                )
        with opened(environment, config.num_steps, with_sampling(campaign.actor, preset.sampling)) as (env, _):
            for arm in arms_of(env, spec, environment, config, campaign.controls, folder):
                check(folder / folder_name(arm.name), prepare_evaluation(env, arm.reflector, config, **_about(arm)))


def _keep_campaign(
    path: Path,
    preset: Preset,
    actor: ActorSpec,
    reflector: ReflectorArgument,
    controls: Sequence[str],
    budget: Mapping[str, Any] | None,
) -> None:
    if (path / CAMPAIGN).exists() or not all(isinstance(spec, str | Mapping) for spec in (actor, reflector)):
        return  # as it began; a live object cannot be written down
    specs = {"actor": actor, "reflector": reflector, "controls": tuple(controls), "budget": dict(budget or {})}
    campaign = Campaign.model_validate({"preset": preset, **specs})
    path.mkdir(parents=True, exist_ok=True)
    write_whole(path / CAMPAIGN, campaign.model_dump_json(indent=2) + "\n")


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
    spec = with_sampling(_read_reflector(reflector), preset.reflector_sampling)
    found = []
    for environment, config in preset.configs():
        length = config.num_steps * len(config.families)
        folder = folder_of(path, environment, config)
        with opened(environment, length, actor, budget=budget, on_episode=on_episode) as (env, meta_env):
            load_usage(folder, meta_env.ledger)
            policy = make_reflector(spec, demo=meta_env.make_demo_reflector)
            arms = [Arm(_arm_name(spec), policy), *(control_arm(name, policy) for name in wanted)]
            reports = []
            for arm in arms:
                if on_arm is not None:
                    blocks = len(config.families)
                    tests = blocks * (blocks + 1) * config.num_test
                    on_arm(arm.name, config.num_seeds * (length * config.episodes_per_step + tests))
                about: dict[str, Any] = {"arm": arm.name, "kind": arm.kind, "path": folder / folder_name(arm.name)}
                reports.append(evaluate_stream(env, arm.reflector, config=config, **about))
        found.append(Streamed(folder, tuple(reports), compare_streams(reports)))
    return found


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


def folder_name(arm: str) -> str:
    """Return the name of an arm's run folder."""
    return re.sub(r"[^\w.]+", "-", arm).strip("-")


def arms_of(
    env: gymnasium.Env[Any, Any],
    spec: ReflectorArgument,
    environment: PresetEnvironment,
    config: EvaluationConfig,
    controls: Sequence[str],
    folder: Path,
) -> Iterator[Arm]:
    """Return the arm of the reflector, and then its control arms; see `control_arms`."""
    own = Arm(_arm_name(spec), make_reflector(spec, demo=meta_env_of(env).make_demo_reflector))
    controlled = control_arms(env, own.reflector, environment, config, controls, folder, own.name)
    return itertools.chain([own], controlled)


def control_arms(
    env: gymnasium.Env[Any, Any],
    reflector: Reflector,
    environment: PresetEnvironment,
    config: EvaluationConfig,
    controls: Sequence[str],
    folder: Path,
    around: str,
) -> Iterator[Arm]:
    """Yield the control arms around the reflector, whose own arm `around` is finished when the first is asked for.

    The constant prompt is tuned, in the folder, just before its arm.
    """
    families, prompt = meta_env_of(env).task_set.expand_families(config.families), None
    train = _train_families(meta_env_of(env), environment)
    for control in controls:
        if control == "constant prompt":
            place = tuning_folder(folder, folder_name(around), reflector)
            prompt = tune_constant_prompt(env, reflector, train_families=train, config=config, path=place).prompt
        elif control == "long prompt":
            first = meta_env_of(env).default_prompt if config.first_prompt is None else config.first_prompt
            prompt = _long_prompt(first, read_report(folder / folder_name(around)))
        yield control_arm(control, reflector, families=families, other_families=train, constant_prompt=prompt)


def _train_families(env: MetaEnv, environment: PresetEnvironment) -> tuple[str, ...]:
    return env.task_set.expand_families(environment.train_families) if environment.train_families else ()


def _long_prompt(first: str, report: EvaluationReport) -> str:
    """Return the long prompt beside an arm, by the seeds that it began with: it stays as it is if seeds are added."""
    end = report.config.first_seed + report.looks[0]
    return long_prompt(first, [item.last_prompt for item in report.prompts if item.seed < end])


def folder_of(path: str | Path, environment: PresetEnvironment, config: EvaluationConfig) -> Path:
    """Return the folder of one environment and k; each arm has a folder in it."""
    return Path(path) / folder_name(f"{environment.id.split('/')[-1]}-k{config.episodes_per_step}".lower())


def _arm_name(spec: ReflectorArgument) -> str:
    name = spec.get("method") if isinstance(spec, Mapping) else spec
    return name.replace(":", ".").replace("/", ".") if isinstance(name, str) else "reflector"


def _read_reflector(reflector: ReflectorArgument) -> ReflectorArgument:
    """Return the spec of the reflector. A folder holds a trained model, or a spec in `reflector.json`."""
    is_name = isinstance(reflector, str) and reflector in ("demo", "local", *method_names())
    if not isinstance(reflector, str) or is_name or not os.path.isdir(reflector):
        return reflector
    if any((Path(reflector) / name).is_file() for name in _MODEL_FILES):
        return reflector  # `make_reflector` serves it
    file = Path(reflector) / "reflector.json"
    try:
        return cast("ReflectorArgument", json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"Expected a reflector's spec (a JSON mapping) in {file}: {error}.") from error
