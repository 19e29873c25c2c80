"""One experiment: made from its manifest, run into a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from metagym.errors import ConfigError, UnknownNameError
from metagym.registration import make, meta_env_ids, missing_package
from metagym.runs import LOG, RunFolder
from metagym.runs.running import run_experiment
from metagym.types import MetaStep
from tests.runs.test_folder import manifest


def test_the_meta_environments_are_the_outer_ids() -> None:
    assert "MetaGym/Gates-v0" in meta_env_ids()
    assert not [env_id for env_id in meta_env_ids() if "Text-" in env_id]


def test_a_meta_episode_is_as_long_as_asked() -> None:
    env = make("MetaGym/Gates-v0", num_steps=37, actor="demo")
    assert env.spec is not None
    assert env.spec.max_episode_steps == 37
    env.close()


@pytest.mark.parametrize("env_id", ["MetaGym/Gate-v0", "MetaGym/GatesText-v0", "CartPole-v1"])
def test_what_is_no_meta_environment_is_an_unknown_name(env_id: str) -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown meta-environment"):
        make(env_id)


def test_a_class_of_ones_own_is_named_by_its_import_path(tmp_path: Path) -> None:
    path = "tests.env.playing:CorridorMetaEnv"
    with make(path, actor="random", episodes_per_step=1) as env:
        assert type(env.unwrapped).__name__ == "CorridorMetaEnv"
    run = manifest(env_id=path, env_options={"actor": "random", "episodes_per_step": 1}, reflector="fixed", num_steps=2)
    assert len(run_experiment(run, tmp_path / "run").history) == 2


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("tests.env.playing:CorridorEnv", r"a subclass of metagym.MetaEnv, got 'tests.env.playing:CorridorEnv'"),
        ("tests.env.playing:Nothing", r"Expected an import path .*Nothing"),
    ],
)
def test_an_import_path_without_a_meta_environment_is_an_error(path: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        make(path)


def test_more_meta_steps_than_registered_are_run(tmp_path: Path) -> None:
    options = {"actor": "demo", "episodes_per_step": 1}
    result = run_experiment(manifest(num_steps=12, env_options=options), tmp_path / "run")
    assert len(result.history) == 12


def test_progress_is_reported(tmp_path: Path) -> None:
    episodes: list[int] = []
    meta_steps: list[MetaStep] = []
    result = run_experiment(
        manifest(), tmp_path / "run", on_episode=lambda: episodes.append(1), on_meta_step=meta_steps.append
    )
    assert len(episodes) == 12
    assert tuple(meta_steps) == result.history


def test_two_runs_of_one_manifest_write_the_same_log(tmp_path: Path) -> None:
    logs = []
    for name in ("a", "b"):
        run_experiment(manifest(), tmp_path / name)
        logs.append((tmp_path / name / LOG).read_bytes())
    assert logs[0] == logs[1]


def test_the_first_prompt_of_the_manifest_comes_first(tmp_path: Path) -> None:
    run_experiment(manifest(first_prompt="Mine."), tmp_path / "run")
    assert RunFolder.open(tmp_path / "run").history[0].prompt == "Mine."


def test_a_wrong_reflector_makes_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Unknown reflector"):
        run_experiment(manifest(reflector="fixd"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_nothing_is_missing_for_gates() -> None:
    assert missing_package("MetaGym/Gates-v0") is None
