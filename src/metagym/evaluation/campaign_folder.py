"""The folder of a campaign: the names of its folders and arms, its arguments, and a check of the arms that have begun.

OUT/campaign.json   the preset and the models, so that `metagym extend` can add seeds
OUT/ENV-kK/ARM/     one run folder per environment, k and arm; an interrupted campaign resumes in them
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, cast

from metagym.errors import ConfigError
from metagym.evaluation.config import EvaluationConfig
from metagym.evaluation.controls import Arm
from metagym.evaluation.preset import Preset, PresetEnvironment
from metagym.evaluation.store import check_unchanged, looks_of
from metagym.files import write_whole
from metagym.optional_attributes import without_addresses
from metagym.reflectors import Reflector, method_names
from metagym.runs import MANIFEST, Manifest, RunFolder, read_record
from metagym.types import SCHEMA_VERSION, Json, Record, Text, Texts

_MODEL_FILES = ("config.json", "adapter_config.json", "metagym.json")
"""Each of these marks the folder of a model: as transformers or peft save it, or as `metagym train` names one."""
ReflectorArgument = Reflector | Mapping[str, Any] | str
CAMPAIGN = "campaign.json"


class Campaign(Record):
    """The arguments of a campaign, if all of it can be written down."""

    schema_version: Literal[1] = SCHEMA_VERSION
    preset: Preset
    actor: Json
    reflector: Json
    controls: Texts
    budget: dict[Text, Json] = {}


def folder_name(arm: str) -> str:
    """Return the name of an arm's run folder."""
    return re.sub(r"[^\w.]+", "-", arm).strip("-")


def folder_of(path: str | Path, environment: PresetEnvironment, config: EvaluationConfig) -> Path:
    """Return the folder of one environment and k; each arm has a folder in it."""
    return Path(path) / folder_name(f"{environment.id.split('/')[-1]}-k{config.episodes_per_step}".lower())


def arm_name(spec: ReflectorArgument) -> str:
    """Return the name of the arm of a reflector with this spec."""
    name = spec.get("method") if isinstance(spec, Mapping) else spec
    return name.replace(":", ".").replace("/", ".") if isinstance(name, str) else "reflector"


def read_reflector(reflector: ReflectorArgument) -> ReflectorArgument:
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


def keep_campaign(path: Path, campaign: Mapping[str, Any]) -> None:
    """Write the arguments into the folder; a later call of the same campaign adds its controls and its seeds.

    Live objects cannot be written down. Another reflector in the same folder is no part of the campaign.
    """
    if not all(isinstance(campaign[name], str | Mapping) for name in ("actor", "reflector")):
        return
    kept = Campaign.model_validate(dict(campaign))
    if (path / CAMPAIGN).exists():
        before = read_record(path / CAMPAIGN, Campaign)
        if _what_stays(before) != _what_stays(kept):
            return
        num_seeds = max(before.preset.num_seeds, kept.preset.num_seeds)
        controls = tuple(dict.fromkeys([*before.controls, *kept.controls]))
        preset = before.preset.model_copy(update={"num_seeds": num_seeds})
        kept = before.model_copy(update={"preset": preset, "controls": controls})
    path.mkdir(parents=True, exist_ok=True)
    write_whole(path / CAMPAIGN, kept.model_dump_json(indent=2) + "\n")


def _what_stays(campaign: Campaign) -> Any:
    preset = campaign.preset.model_dump(mode="json", exclude={"num_seeds", "controls"})
    return without_addresses([preset, campaign.actor, campaign.reflector])


def check_begun(
    folder: Path, arms: Iterable[Arm], manifest_of: Callable[[Arm], Manifest], *, adds_seeds: bool = False
) -> None:
    """Raise RunFolderError if one of the arms has begun in the folder with other settings. Nothing is played."""
    for arm in arms:
        place = folder / folder_name(arm.name)
        if (place / MANIFEST).exists():
            with RunFolder.open(place) as run:
                check_unchanged(run, manifest_of(arm), adds_seeds=adds_seeds)


def with_added_seeds(config: EvaluationConfig, own: Path) -> EvaluationConfig:
    """Return the config with the seeds that were added to the reflector's own arm: a new arm gets them, too."""
    if not (own / MANIFEST).exists():
        return config
    with RunFolder.open(own) as run:
        looks = looks_of(run)
    return config.model_copy(update={"num_seeds": looks[-1]}) if config.num_seeds in looks else config
