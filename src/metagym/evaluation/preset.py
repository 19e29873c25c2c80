"""Presets: a protocol by its name, so that two people mean the same thing by it; or your own protocol in TOML."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from pydantic import Field, ValidationError

from metagym.budget import Budget
from metagym.env import meta_env_of
from metagym.errors import ConfigError, UnknownNameError, config_error
from metagym.evaluation.config import EvaluationConfig
from metagym.registration import make
from metagym.types import Json, Record, Text, Texts

T = TypeVar("T")
MAX_FAMILIES = 100
"""The most families that are evaluated without being named."""
_PRESETS = Path(__file__).with_name("presets")


class PresetEnvironment(Record):
    """One environment of a preset, with the numbers that differ there."""

    id: Text
    families: Texts = Field(min_length=1)
    """Meta-test: the families that are evaluated."""
    train_families: Texts = ()
    """Meta-train: a reflector may have been trained on these; the best constant prompt is tuned on them."""
    options: dict[Text, Json] = {}
    """Keyword arguments of `gym.make`."""
    num_validation: int | None = None
    num_test: int | None = None


class Preset(Record):
    """A protocol over one or more environments. The fields that `EvaluationConfig` has mean the same here."""

    name: Text
    about: Text = ""
    guessed: Texts = ()
    """The decisions that the source of the protocol leaves open."""
    protocol: Literal["ict", "stream"] = "ict"
    environments: tuple[PresetEnvironment, ...] = Field(min_length=1)
    controls: Texts = ()
    """The control arms that are evaluated in addition to the reflector."""
    budget: Budget | None = None
    """The learning budget of each meta-episode, in an arena."""
    sampling: dict[Text, Json] = {}
    """How the actor's model samples, if its mapping does not say otherwise; for protocols that follow a paper."""
    reflector_sampling: dict[Text, Json] = {}
    """The same of the reflector's model."""
    num_steps: int = 10
    episodes_per_step: tuple[int, ...] = Field(default=(5,), min_length=1)
    """The values of k; each gives one evaluation."""
    num_seeds: int = 10
    num_validation: int = 25
    num_test: int = 50
    test_repetitions: int = 1
    task_seed: int = 0

    def configs(self) -> list[tuple[PresetEnvironment, EvaluationConfig]]:
        """Return the evaluations of the preset: one for each environment and k."""
        shared = {name: value for name, value in self if name in EvaluationConfig.model_fields}
        found = []
        for environment in self.environments:
            own = environment.model_dump(include={"families", "num_validation", "num_test"}, exclude_none=True)
            options = {**shared, **own}
            found += [
                (environment, EvaluationConfig(**{**options, "episodes_per_step": k})) for k in self.episodes_per_step
            ]
        if self.protocol == "stream":
            for _, config in found:
                config.check_stream()
        return found


def with_sampling(spec: T, sampling: Mapping[str, Any]) -> T:
    """Return a model's mapping with `sampling` under its own; return anything else as it is.

    >>> with_sampling({"model": "m", "sampling": {"max_tokens": 9}}, {"max_tokens": 500, "temperature": 0.0})
    {'model': 'm', 'sampling': {'temperature': 0.0, 'max_tokens': 9}}
    """
    if not sampling or not isinstance(spec, Mapping) or spec.get("model") in (None, "demo"):
        return spec
    own = spec.get("sampling") or {}
    limits = ("max_tokens", "max_completion_tokens")
    is_limited = any(name in own for name in limits)
    below = {name: value for name, value in sampling.items() if not (is_limited and name in limits)}
    return cast("T", {**spec, "sampling": {**below, **own}})


def preset_names() -> list[str]:
    """Return the names of the presets that come with the library."""
    return sorted(path.stem for path in _PRESETS.glob("*.toml"))


def preset_for(
    env_id: str, *, families: Sequence[str] | None = None, options: Mapping[str, Any] | None = None
) -> Preset:
    """Return the protocol of an own measurement: one environment, five meta-steps, five seeds, and two controls.

    The controls are an A/A run and a null control. `env_id` is an id or `package.module:MyMetaEnv`; without `families`
    all families of the environment are evaluated, and a group of families is replaced by its members.

    >>> preset_for("MetaGym/Gates-v0", families=["law-0007"]).num_seeds
    5
    """
    given = dict(options or {})
    check_once("family", list(families or ()))
    with make(env_id, actor="random", **given) as env:
        meta_env = meta_env_of(env)
        names = meta_env.families if families is None else meta_env.task_set.expand_families(families)
    if families is None:
        check_number(env_id, names)
    environment = PresetEnvironment(id=env_id, families=names, options=given)
    name = re.sub(r"[^\w.]+", "-", env_id.removeprefix("MetaGym/")).strip("-").lower()
    controls = ("same again", "no reflection")
    return Preset(name=name, environments=(environment,), controls=controls, num_steps=5, num_seeds=5)


def with_members(preset: Preset) -> Preset:
    """Return the preset with each group of families replaced by its members, so that all sizes count families.

    An environment of a preset that comes with the library names no groups, and is not made for this.

    Raises:
        UnknownNameError: an environment has no such family.
    """
    named = preset.name in preset_names() and {_families_of(item) for item in load_preset(preset.name).environments}
    return preset.model_copy(
        update={
            "environments": tuple(
                item if named and _families_of(item) in named else _with_members(item) for item in preset.environments
            )
        }
    )


def _families_of(environment: PresetEnvironment) -> tuple[object, ...]:
    return environment.id, environment.families, environment.train_families


def _with_members(environment: PresetEnvironment) -> PresetEnvironment:
    with make(environment.id, actor="random", **environment.options) as env:
        expand = meta_env_of(env).task_set.expand_families
        members = {
            name: expand(value) for name in ("families", "train_families") if (value := getattr(environment, name))
        }
    return environment.model_copy(update=members)


def check_number(env_id: str, families: Sequence[str]) -> None:
    """Raise ConfigError if an environment has too many families to play all of them."""
    if len(families) > MAX_FAMILIES:
        raise ConfigError(
            f"{env_id} has {len(families)} families, such as {families[0]!r}: name those to evaluate, --families a,b."
        )


def with_fields(preset: Preset, fields: Mapping[str, Any]) -> Preset:
    """Return the preset with some fields changed; a field of the table of an environment is changed in each.

    Raises:
        ConfigError: a field is unknown or has no legal value, or `families` are given for several environments.
    """
    own = {name: value for name, value in fields.items() if name in PresetEnvironment.model_fields}
    if "families" in own and len(preset.environments) > 1:
        ids = ", ".join(item.id for item in preset.environments)
        raise ConfigError(f"The preset {preset.name} has several environments ({ids}), each with its own families.")
    shared = {name: value for name, value in fields.items() if name in Preset.model_fields}
    try:
        places = [item.model_dump() | own for item in preset.environments]
        changed = Preset.model_validate({**preset.model_dump(), **shared, "environments": places})
        changed.configs()
    except ValidationError as error:
        raise config_error(error, "field of the protocol", sorted(Preset.model_fields)) from None
    _check_each_once(changed)
    return changed


def check_once(kind: str, values: Sequence[object]) -> None:
    """Raise ConfigError if a value of this kind is given twice."""
    if twice := sorted({repr(value) for value in values if values.count(value) > 1}):
        raise ConfigError(f"Expected each {kind} once, got {', '.join(twice)} twice. Leave one out.")


def _check_each_once(preset: Preset) -> None:
    check_once("k of episodes_per_step", preset.episodes_per_step)
    check_once("control", preset.controls)
    for environment in preset.environments:
        check_once("family", environment.families)
        check_once("family of train_families", environment.train_families)


def preset_text(name: str) -> str:
    """Return the TOML of a preset that comes with the library."""
    load_preset(name)
    return (_PRESETS / f"{name}.toml").read_text(encoding="utf-8")


def load_preset(name: str) -> Preset:
    """Return the preset of that name, or the one in the TOML file at that path.

    >>> load_preset("ict").num_seeds, load_preset("ict").episodes_per_step
    (10, (3, 5))

    Raises:
        ConfigError: there is no such preset, its file cannot be read, or a field is unknown or has no legal value.
    """
    if not name.endswith(".toml") and name not in preset_names():
        raise UnknownNameError.of("preset", name, preset_names(), remedy="Or give the path of your own .toml file.")
    file = Path(name) if name.endswith(".toml") else _PRESETS / f"{name}.toml"
    try:
        fields = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"Expected a preset in TOML at {name}: {error}.") from error
    try:
        preset = Preset.model_validate({"name": Path(name).stem, **fields})
        preset.configs()
    except ValidationError as error:
        raise config_error(error, f"field of the preset {name}", sorted({*Preset.model_fields} - {"name"})) from None
    _check_each_once(preset)
    return preset
