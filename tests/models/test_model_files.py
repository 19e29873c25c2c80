"""Which file `local` means: the one that is named, the one in METAGYM_LOCAL_MODEL, or the only fetched one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from metagym.errors import ConfigError
from metagym.models.model_files import ModelFile, find_model, is_model_file, list_models, models_folder
from tests.models.gguf_files import write_gguf


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("METAGYM_CACHE", str(tmp_path))
    return tmp_path / "models"


def test_the_folder_is_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("METAGYM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert models_folder() == tmp_path / "metagym" / "models"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert models_folder() == Path.home() / ".cache" / "metagym" / "models"


def test_the_only_fetched_model_needs_no_name(folder: Path) -> None:
    path = write_gguf(folder / "tiny.gguf")
    assert find_model().path == path
    assert find_model("tiny").head.licence == "mit"
    assert [file.name for file in list_models()] == ["tiny"]


def test_several_models_have_to_be_told_apart(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        write_gguf(folder / f"{name}.gguf")
    with pytest.raises(ConfigError, match=r"Expected one local model, got one, two. Name one: local:one"):
        find_model()
    monkeypatch.setenv("METAGYM_LOCAL_MODEL", "two")
    assert find_model().name == "two"
    assert find_model("one").name == "one"


def test_a_path_is_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_gguf(tmp_path / "mine" / "own.gguf")
    monkeypatch.chdir(tmp_path)
    assert find_model("mine/own.gguf").path == path
    monkeypatch.setenv("METAGYM_LOCAL_MODEL", str(path))
    assert find_model().path == path


def test_without_a_model_one_sentence_says_the_command(folder: Path) -> None:
    for name, wanted in (("", "a local model, got nothing"), ("big", "a local model 'big', got no file")):
        with pytest.raises(ConfigError, match=rf"Expected {wanted}\. Get one: metagym models get smollm2-135m"):
            find_model(name)
    with pytest.raises(ConfigError, match=r"Expected a GGUF file at /nowhere/x.gguf, got no file\. Get one:"):
        find_model("/nowhere/x.gguf")


def test_a_name_is_a_model_file_if_it_was_fetched(folder: Path) -> None:
    write_gguf(folder / "tiny.gguf")
    assert is_model_file("tiny")
    assert is_model_file("any/x.gguf")
    assert not is_model_file("Qwen/Qwen3-8B")


def test_the_digest_follows_the_content(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf")
    file = ModelFile(path)
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    before = file.sha256
    write_gguf(path, {"general.name": "Other"})
    assert file.sha256 != before
