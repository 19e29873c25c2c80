"""Presets: the shipped ones load, and a file that is not one is refused with its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from metagym.errors import ConfigError, UnknownNameError
from metagym.evaluation.preset import load_preset, preset_names


@pytest.mark.parametrize("name", preset_names())
def test_a_shipped_preset_gives_one_evaluation_for_each_environment_and_k(name: str) -> None:
    preset = load_preset(name)
    assert preset.name == name
    assert len(preset.configs()) == len(preset.environments) * len(preset.episodes_per_step)


def test_an_unknown_name_and_an_unknown_field_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown preset 'itc'.* Did you mean 'ict'.* your own .toml file"):
        load_preset("itc")
    (tmp_path / "mine.toml").write_text('num_step = 3\n[[environments]]\nid = "a"\nfamilies = ["b"]\n')
    with pytest.raises(ConfigError, match=r"field of the preset .*mine.toml 'num_step'.* Did you mean 'num_steps'"):
        load_preset(str(tmp_path / "mine.toml"))


def test_a_preset_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"Expected a preset in TOML at .*mine.toml"):
        load_preset(str(tmp_path / "mine.toml"))
