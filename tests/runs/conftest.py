"""A finished run, and how its log is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from metagym.runs import LOG, Manifest
from metagym.runs.running import run_experiment

OPTIONS: dict[str, Any] = {"actor": "demo", "episodes_per_step": 3}


def manifest(**fields: Any) -> Manifest:
    defaults = {"env_id": "MetaGym/Gates-v0", "env_options": OPTIONS, "reflector": "demo", "seed": 1, "num_steps": 4}
    return Manifest(**{**defaults, **fields})


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A finished run."""
    run_experiment(manifest(), tmp_path / "finished")
    return tmp_path / "finished"


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / LOG).read_text(encoding="utf-8").splitlines()]
