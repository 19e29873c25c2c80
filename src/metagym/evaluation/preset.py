"""Presets: a protocol by its name, so that two people mean the same thing by it; or your own protocol in TOML."""

from __future__ import annotations

import importlib.resources
import tomllib
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from metagym.budget import Budget
from metagym.errors import ConfigError, UnknownNameError, config_error
from metagym.evaluation.config import EvaluationConfig
from metagym.types import Record


class PresetEnvironment(Record):
    """One environment of a preset, with the numbers that differ there."""

    id: str
    families: tuple[str, ...] = Field(min_length=1)
    """Meta-test: the families that are evaluated."""
    train_families: tuple[str, ...] = ()
    """Meta-train: a reflector may have been trained on these; the best constant prompt is tuned on them."""
    options: dict[str, Any] = {}
    """Keyword arguments of `gym.make`."""
    num_validation: int | None = None
    num_test: int | None = None


class Preset(Record):
    """A protocol over one or more environments. The fields that `EvaluationConfig` has mean the same here."""

    name: str
    about: str = ""
    guessed: tuple[str, ...] = ()
    """The decisions that the source of the protocol leaves open."""
    protocol: Literal["ict", "stream"] = "ict"
    environments: tuple[PresetEnvironment, ...] = Field(min_length=1)
    controls: tuple[str, ...] = ()
    """The control arms that are evaluated beside the reflector."""
    budget: Budget | None = None
    """The learning budget of each meta-episode, in an arena."""
    num_steps: int = 10
    episodes_per_step: tuple[int, ...] = Field(default=(5,), min_length=1)
    """The values of k; each gives one evaluation."""
    num_seeds: int = 10
    num_validation: int = 25
    num_test: int = 50
    task_seed: int = 0

    def configs(self) -> list[tuple[PresetEnvironment, EvaluationConfig]]:
        """Return the evaluations of the preset: one for each environment and k."""
        return [
            (environment, self._config(environment, k))
            for environment in self.environments
            for k in self.episodes_per_step
        ]

    def _config(self, environment: PresetEnvironment, episodes_per_step: int) -> EvaluationConfig:
        return EvaluationConfig(
            families=environment.families,
            num_steps=self.num_steps,
            episodes_per_step=episodes_per_step,
            num_seeds=self.num_seeds,
            num_validation=self.num_validation if environment.num_validation is None else environment.num_validation,
            num_test=self.num_test if environment.num_test is None else environment.num_test,
            task_seed=self.task_seed,
        )


def preset_names() -> list[str]:
    """Return the names of the presets that come with the library."""
    names = (item.name for item in _shipped().iterdir())
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def load_preset(name: str) -> Preset:
    """Return the preset of that name, or the one in the TOML file at that path.

    >>> load_preset("ict").num_seeds, load_preset("ict").episodes_per_step
    (10, (3, 5))

    Raises:
        UnknownNameError: there is no preset of that name.
        ConfigError: the file cannot be read, or a field is unknown or has no legal value.
    """
    if name.endswith(".toml"):
        path = Path(name)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise ConfigError(f"Expected a preset in TOML at {name}: {error}.") from error
        own = path.stem
    elif name in preset_names():
        text = (_shipped() / f"{name}.toml").read_text(encoding="utf-8")
        own = name
    else:
        raise UnknownNameError.of("preset", name, preset_names(), remedy="Or give the path of your own .toml file.")
    try:
        preset = Preset.model_validate({"name": own, **tomllib.loads(text)})
        preset.configs()
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"Expected TOML in the preset {name}: {error}.") from error
    except ValidationError as error:
        raise config_error(error, f"field of the preset {name}", sorted({*Preset.model_fields} - {"name"})) from None
    return preset


def _shipped() -> Traversable:
    return importlib.resources.files("metagym.evaluation") / "presets"
