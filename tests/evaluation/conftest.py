"""A small arena on Gates, and a run of it that several tests look at."""

from __future__ import annotations

from pathlib import Path

import pytest

from metagym.evaluation.arena import Bout, run_arena
from metagym.evaluation.preset import Preset, load_preset

SMALL = """
num_steps = 3
episodes_per_step = [2]
num_seeds = 3
num_validation = 3
num_test = 4
controls = ["same again", "empty experience"]

[[environments]]
id = "MetaGym/Gates-v0"
families = ["law-0007", "law-0500"]
train_families = ["law-0100"]
"""
METHODS = ("ict", "training_free_grpo_style", "best_of_n(ict)")


def write_preset(folder: Path) -> Path:
    path = folder / "small.toml"
    path.write_text(SMALL)
    return path


@pytest.fixture
def preset(tmp_path: Path) -> Preset:
    return load_preset(str(write_preset(tmp_path)))


@pytest.fixture(scope="session")
def bout(tmp_path_factory: pytest.TempPathFactory) -> Bout:
    folder = tmp_path_factory.mktemp("arena")
    small = load_preset(str(write_preset(folder)))
    (only,) = run_arena(small, METHODS, actor="demo", model={"model": "demo"}, path=folder / "out")
    return only
