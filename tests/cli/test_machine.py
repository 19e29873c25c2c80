"""`metagym doctor` (each fault has its remedy, and the exit code tells) and `serve`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metagym.models import local_server
from tests.cli.conftest import Metagym
from tests.conftest import SRC, run_python

STATES = {"ok", "warning", "problem"}


def test_a_sound_installation_ends_with_0_and_each_fault_has_a_remedy(command: Metagym) -> None:
    done = command("doctor", "--json")
    found = json.loads(done.out)
    assert {"python", "metagym", "games", "runs", "terminal", "gpu", "model"} <= {item["topic"] for item in found}
    assert {item["state"] for item in found} <= STATES
    assert all(bool(item["remedy"]) == (item["state"] != "ok") for item in found)
    assert (done.code == 1) == any(item["state"] == "problem" for item in found)


def test_a_problem_ends_with_1_and_its_remedy_is_shown(command: Metagym) -> None:
    done = command("doctor", "--actor", "gpt-4o")
    assert done.code == 1
    assert "problem  model" in done.out
    assert "-> export METAGYM_MODEL=NAME OPENAI_API_KEY=..." in done.out
    assert "1 problem, " in done.out


def test_a_games_folder_that_is_not_there_is_a_problem(
    command: Metagym,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path / "nowhere"))
    done = command("doctor")
    assert done.code == 1
    assert "-> alfworld-download, then export ALFWORLD_DATA=FOLDER" in done.out
    monkeypatch.delenv("ALFWORLD_DATA")
    assert "ALFWorld plays generated games" in command("doctor").out


def test_the_doctor_leaves_nothing_behind_and_loads_neither_torch_nor_alfworld(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['metagym', 'doctor']; from metagym.cli import app; app(standalone_mode=False);"
        "print(sorted(name for name in ('torch', 'alfworld', 'textworld', 'openai') if name in sys.modules))"
    )
    done = run_python(code, env={"HOME": str(tmp_path), "PYTHONPATH": str(SRC.parent)}, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
    assert list(tmp_path.iterdir()) == []


def test_serve_prints_its_address_and_ends_with_the_servers_code(
    command: Metagym, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stub(local_server.ModelServer):
        def start(self) -> local_server.ModelServer:
            return self

        def wait(self) -> int:
            return 3

    monkeypatch.setattr("metagym.models.ModelServer", Stub)
    done = command("serve", "tiny", "--engine", "vllm", "--port", 8123)
    assert done.code == 3
    assert "tiny answers at http://127.0.0.1:8123/v1" in done.out
    assert "metagym run MetaGym/Gates-v0 --actor tiny@http://127.0.0.1:8123/v1" in done.out
    assert "must be 'vllm' or 'transformers', got 'tgi'" in command("serve", "tiny", "--engine", "tgi").err
