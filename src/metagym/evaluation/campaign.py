"""A campaign: a preset, an actor and a reflector, evaluated with its control arms into a folder of run folders.

OUT/ENV-kK/ARM/     one run folder per environment, k and arm; an interrupted campaign goes on over them
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from metagym.actors import ActorSpec
from metagym.env import MetaEnv
from metagym.errors import ConfigError, UnknownNameError
from metagym.evaluation import evaluate
from metagym.evaluation.arms import CONTROLS, Arm
from metagym.evaluation.comparison import Comparison, compare
from metagym.evaluation.config import EvaluationConfig
from metagym.evaluation.constant_prompt import tune_constant_prompt, tuning_config
from metagym.evaluation.controls import control_arm
from metagym.evaluation.plan import Plan
from metagym.evaluation.preset import Preset, PresetEnvironment
from metagym.evaluation.report import EvaluationReport
from metagym.evaluation.stream import StreamReport, evaluate_stream
from metagym.reflectors import Reflector, make_reflector
from metagym.registration import make
from metagym.runs import evaluation_size
from metagym.types import Trajectory

_MODEL_FILES = ("config.json", "adapter_config.json", "metagym.json")
"""One of these makes a folder a model's: as transformers or peft save it, or as `metagym train` names one."""
ReflectorArgument = Reflector | Mapping[str, Any] | str


class Evaluated(NamedTuple):
    """One environment and k of a campaign: the arms' reports, the reflector's first, and its comparisons."""

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
    on_arm: Callable[[str, int], Any] | None = None,
    on_episode: Callable[[Trajectory], None] | None = None,
) -> list[Evaluated]:
    """Evaluate the reflector by the preset, with its controls (or those given), and compare it with each.

    `budget` (tokens, calls, cost) holds for each environment and k. `on_arm` is called with the name of each
    arm and its number of episodes before it is played. An interrupted campaign goes on when it is called again
    with the same folder.

    Raises:
        MetaGymError: as `evaluate` raises.
    """
    wanted = preset.controls if controls is None else tuple(controls)
    spec = read_reflector_argument(reflector)
    check_configs(preset.configs(), actor, controls=wanted)
    found = []
    for environment, config in preset.configs():
        folder = folder_of(path, environment, config)
        options = {**environment.options, "actor": actor, "budget": dict(budget or {})}
        env = make(environment.id, num_steps=config.num_steps, **options)
        try:
            meta_env = cast(MetaEnv, env.unwrapped)
            meta_env.on_episode = on_episode
            policy = make_reflector(spec, demo=meta_env.make_demo_reflector)
            reports = []
            own = Arm(_arm_name(spec), policy)
            for arm in (own, *control_arms(env, policy, environment, config, wanted, folder)):
                if on_arm is not None:
                    on_arm(arm.name, evaluation_size(dict(config))[1])
                place = folder / arm.name.replace(" ", "-")
                options = {"arm": arm.name, "kind": arm.kind, "learn_from": arm.learn_from}
                reports.append(evaluate(env, arm.reflector, config=config, path=place, **options))
        finally:
            env.close()
        comparisons = compare(reports) if len(reports) > 1 else ()
        found.append(Evaluated(folder, tuple(reports), comparisons))
    return found


def run_streams(
    preset: Preset,
    *,
    actor: ActorSpec,
    reflector: ReflectorArgument,
    path: str | Path,
    budget: Mapping[str, Any] | None = None,
    on_episode: Callable[[Trajectory], None] | None = None,
) -> list[StreamReport]:
    """Run the reflector over the streams of a preset whose protocol is `stream`; one report per environment and k.

    Raises:
        MetaGymError: as `evaluate` raises.
    """
    check_configs(preset.configs(), actor)
    spec = read_reflector_argument(reflector)
    reports = []
    for environment, config in preset.configs():
        length = config.num_steps * len(config.families)
        options = {**environment.options, "actor": actor, "budget": dict(budget or {})}
        env = make(environment.id, num_steps=length, **options)
        try:
            meta_env = cast(MetaEnv, env.unwrapped)
            meta_env.on_episode = on_episode
            name = _arm_name(spec)
            place = folder_of(path, environment, config) / name
            reports.append(evaluate_stream(env, spec, config=config, arm=name, path=place))
        finally:
            env.close()
    return reports


def check_configs(
    configs: Sequence[tuple[PresetEnvironment, EvaluationConfig]], actor: ActorSpec, *, controls: Sequence[str] = ()
) -> None:
    """Make sure that everything a preset asks for exists, before the first episode of the first environment.

    Raises:
        MetaGymError: an environment, a family or an option is unknown, or there are too few tasks.
    """
    for control in controls:
        if control not in CONTROLS:
            raise UnknownNameError.of("control", control, CONTROLS)
    for environment, config in configs:
        env = make(environment.id, num_steps=config.num_steps, **{**environment.options, "actor": actor})
        try:
            meta_env = cast(MetaEnv, env.unwrapped)
            Plan(meta_env, config, {}, arm="")
            if environment.train_families:
                meta_env.task_set.expand_families(environment.train_families)
            if "constant prompt" in controls:
                Plan(meta_env, tuning_config(config, environment.train_families), {}, arm="")
        finally:
            env.close()


def read_reflector_argument(reflector: ReflectorArgument) -> ReflectorArgument:
    """Return the reflector's spec; a folder is one that holds it in `reflector.json`, or a trained model's.

    Raises:
        ConfigError: there is such a folder, but no spec in it.
    """
    if not isinstance(reflector, str) or not os.path.isdir(reflector):
        return reflector
    if any((Path(reflector) / name).is_file() for name in _MODEL_FILES):
        return reflector  # `make_reflector` serves it
    file = Path(reflector) / "reflector.json"
    try:
        spec = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"Expected a reflector's spec (a JSON mapping) in {file}: {error}.") from error
    return cast("ReflectorArgument", spec)


def control_arms(
    env: Any,
    reflector: Reflector,
    environment: PresetEnvironment,
    config: EvaluationConfig,
    controls: Sequence[str],
    folder: Path,
) -> Iterator[Arm]:
    """Yield the control arms around the reflector; the constant prompt is tuned, in the folder, when its turn comes."""
    for control in controls:
        prompt = None
        if control == "constant prompt":
            train = environment.train_families
            prompt = tune_constant_prompt(
                env, reflector, train_families=train, config=config, path=folder / "tuning"
            ).prompt
        yield control_arm(
            control,
            reflector,
            families=config.families,
            other_families=environment.train_families,
            constant_prompt=prompt,
        )


def _arm_name(spec: ReflectorArgument) -> str:
    name = spec.get("method") if isinstance(spec, Mapping) else spec
    return name.replace(":", ".").replace("/", ".") if isinstance(name, str) else "reflector"


def folder_of(path: str | Path, environment: PresetEnvironment, config: EvaluationConfig) -> Path:
    """Return the folder of one environment and k, below which each arm has its own."""
    return Path(path) / f"{environment.id.split('/')[-1]}-k{config.episodes_per_step}".lower()
