"""`metagym models`, and what other commands make of `local`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metagym.cli.model_options import read_actor, read_reflector, read_shared_model
from metagym.errors import ConfigError
from tests.cli.conftest import Metagym
from tests.models.gguf_files import write_gguf


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("METAGYM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


def test_models_are_listed_with_what_they_are(command: Metagym, folder: Path) -> None:
    empty = command("models")
    assert f"No model is in {folder}." in empty.out
    assert "metagym models get smollm2-135m: SmolLM2-135M-Instruct" in empty.out
    path = write_gguf(folder / "tiny.gguf")
    assert [*command("models").out.split("│")[1:4]] == [" tiny ", " 0   ", " mit     "]
    about = {"name": "tiny", "num_bytes": path.stat().st_size, "licence": "mit", "context_tokens": 4096}
    assert json.loads(command("models", "list", "--json").out) == [{**about, "path": str(path)}]
    write_gguf(folder / "smollm2-135m.gguf")
    assert "models get" not in command("models", "list").out


def test_a_model_that_cannot_be_got_is_an_error_in_one_sentence(command: Metagym, folder: Path) -> None:
    done = command("models", "get", "gpt")
    assert (done.code, done.out) == (1, "")
    assert "Unknown model 'gpt': expected one of 'smollm2-135m'" in done.err


def test_a_run_without_a_model_file_says_the_command(command: Metagym, folder: Path) -> None:
    done = command("run", "MetaGym/Gates-v0", "--actor", "local")
    assert done.code == 1
    assert "Expected a local model, got nothing. Get one: metagym models get smollm2-135m" in done.err


@pytest.mark.parametrize(
    ("spec", "model"),
    [
        ("local", "local"),
        ("local:tiny", "local:tiny"),
        ("local:./mine.gguf", "local:./mine.gguf"),
        ("./mine.gguf", "local:./mine.gguf"),
        ("/models/mine.gguf", "local:/models/mine.gguf"),
    ],
)
def test_local_is_a_model_for_actors_and_reflectors(spec: str, model: str) -> None:
    actor = read_actor(spec, "max_tokens=5")
    assert actor == {"model": model, "sampling": {"max_tokens": 5}}
    assert read_reflector(None, actor=actor) == {"model": model}
    assert read_reflector(spec, actor="random") == {"model": model}
    assert read_reflector(f"ace_style:{spec}", actor="random") == {"model": model, "method": "ace_style"}
    assert read_shared_model(spec, actor="random") == {"model": model}


def test_a_gguf_file_on_a_server_is_that_servers() -> None:
    url = "http://localhost:1/v1"
    assert read_actor(f"m.gguf@{url}") == {"model": "m.gguf", "base_url": url}


def test_a_missing_actor_offers_local() -> None:
    with pytest.raises(ConfigError, match=r"--actor local \(a small model on this machine\)"):
        read_actor(None)
