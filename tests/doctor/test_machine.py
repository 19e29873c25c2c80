"""Folders that cannot be written, too little disk space, characters that cannot be shown, a GPU without an answer."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from metagym.doctor import Finding, State, machine
from metagym.doctor.machine import check_folders, check_gpu, check_terminal, why_not_writable

READS_ALL = pytest.mark.skipif(os.geteuid() == 0, reason="the superuser writes everywhere")


def folders(environ: dict[str, str], here: Path) -> dict[str, Finding]:
    return {finding.topic: finding for finding in check_folders(environ, here=here)}


def refuse(monkeypatch: pytest.MonkeyPatch, *refused: Path) -> None:
    """Make these folders look as if mounted read-only, for the superuser too."""
    write = tempfile.TemporaryFile

    def try_to_write(*, dir: Any) -> Any:
        if Path(dir) in refused:
            raise OSError(30, "Read-only file system")
        return write(dir=dir)

    monkeypatch.setattr(tempfile, "TemporaryFile", try_to_write)


def test_folders_that_can_be_written_are_fine(tmp_path: Path) -> None:
    found = folders({"HOME": str(tmp_path)}, tmp_path)
    assert {finding.state for finding in found.values()} <= {State.OK, State.WARNING}
    assert "GiB are free" in found["runs"].message
    assert "home" not in found


def test_a_folder_without_the_right_to_write_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, tmp_path)
    found = folders({"HOME": str(tmp_path)}, tmp_path)
    assert (found["runs"].state, found["runs"].remedy) == (
        State.PROBLEM,
        "cd to another folder, or give --out FOLDER",
    )
    assert "Read-only file system" in found["runs"].message


def test_a_read_only_home_is_a_warning_that_names_the_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    refuse(monkeypatch, home)
    found = folders({"HOME": str(home)}, tmp_path)
    assert found["home"].state is State.WARNING
    assert found["home"].remedy == "export XDG_CACHE_HOME=FOLDER HF_HOME=FOLDER MPLCONFIGDIR=FOLDER"
    assert "home" not in folders({"HOME": str(home), "XDG_CACHE_HOME": str(tmp_path)}, tmp_path)


def test_a_scratch_folder_without_the_right_to_write_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(scratch))
    refuse(monkeypatch, scratch)
    assert folders({"HOME": str(tmp_path)}, tmp_path)["scratch"].remedy == "export TMPDIR=FOLDER"


@READS_ALL
def test_the_reason_is_the_message_of_the_system(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert why_not_writable(tmp_path) == "Permission denied"


@pytest.mark.parametrize(
    ("free", "state"), [(10 << 20, State.PROBLEM), (500 << 20, State.WARNING), (50 << 30, State.OK)]
)
def test_little_disk_space_is_a_warning_and_too_little_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, state: State
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1 << 40, 0, free))  # type: ignore[attr-defined]
    assert folders({"HOME": str(tmp_path)}, tmp_path)["runs"].state is state


def test_an_encoding_without_our_characters_is_a_warning() -> None:
    ascii_stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    found = check_terminal(ascii_stream)
    assert (found.state, found.remedy) == (State.WARNING, "export LANG=C.UTF-8 PYTHONUTF8=1")


def test_a_pipe_is_named_and_is_fine() -> None:
    found = check_terminal(io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    assert (found.state, found.message[:24]) == (State.OK, "the output is a file or ")


def test_no_gpu_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert check_gpu().state is State.OK


def test_a_gpu_and_a_torch_without_cuda_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA H200, 143771 MiB'\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(program))
    monkeypatch.setattr(machine, "version_of", lambda name: "2.13.0+cpu")
    found = check_gpu()
    assert (found.state, found.remedy) == (State.WARNING, "pip install --force-reinstall torch")
    monkeypatch.setattr(machine, "version_of", lambda name: "2.13.0")
    assert check_gpu().message == "NVIDIA H200, 143771 MiB"


def test_a_driver_that_does_not_answer_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nexit 9\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(program))
    assert check_gpu().state is State.WARNING
