"""`metagym envs`, `alfworld generate`, `minihack levels`, `doctor` and `serve`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metagym.doctor.finding import ok, problem, warning
from metagym.errors import ConfigError
from metagym.models import local_server
from tests.cli.conftest import Metagym, invoke
from tests.conftest import SRC, run_python

STATES = {"ok", "warning", "problem"}


def test_envs_lists_the_meta_environments(command: Metagym) -> None:
    done = command("envs")
    assert "MetaGym/Gates-v0" in done.out
    assert "GatesText" not in done.out
    rows = json.loads(command("envs", "--json").out)
    assert {"id": "MetaGym/Gates-v0", "max_episode_steps": 10, "missing": None} in rows


@pytest.mark.alfworld
def test_generate_writes_games_in_the_official_layout(tmp_path: Path) -> None:
    pytest.importorskip("alfworld", reason="needs the extra alfworld")
    family = "pick_and_place_simple"
    assert "2 generated games" in invoke("alfworld", "generate", "-o", tmp_path, "--family", family, "--games", 2)
    assert len(list(tmp_path.glob(f"json_2.1.1/train/{family}-*/*/game.tw-pddl"))) == 2


def test_an_unknown_family_of_games_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("alfworld", reason="needs the extra alfworld")
    with pytest.raises(ConfigError, match="pick_nothing"):
        invoke("alfworld", "generate", "-o", tmp_path, "--family", "pick_nothing")
    assert not list(tmp_path.iterdir())


@pytest.mark.minihack
def test_levels_counts_distinct_starts() -> None:
    pytest.importorskip("nle", reason="needs the extra minihack")
    printed = invoke("minihack", "levels", "MiniHack-LockedDoor-Fixed-v0", "--seeds", 20, "--json")
    assert json.loads(printed) == [
        {"family": "MiniHack-LockedDoor-Fixed-v0", "num_seeds": 20, "num_levels": 1, "estimate": 1}
    ]


@pytest.mark.minihack
def test_an_unknown_family_of_levels_is_an_error_that_says_why() -> None:
    with pytest.raises(ConfigError, match="minigrid"):
        invoke("minihack", "levels", "MiniHack-MultiRoom-N2-v0")


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


def test_fix_prints_one_command_and_leaves_the_rest_to_a_person(
    command: Metagym, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [
        problem("a", "missing", "pip install x 'y>=2'"),
        warning("b", "missing", "pip install x z"),
        problem("proxy", "in the way", "export NO_PROXY=localhost"),
        problem("games", "missing", "alfworld-download, then export ALFWORLD_DATA=FOLDER; or unset it"),
        warning("model", "none is named", "export METAGYM_MODEL=NAME with OPENAI_API_KEY, or write --actor NAME@URL"),
        problem("key", "missing", "export OPENAI_API_KEY=..."),
        problem("local", "no file", "metagym models get smollm2-135m"),
        ok("c", "fine"),
    ]
    monkeypatch.setattr("metagym.doctor.examine", lambda *given, **more: found)
    done = command("doctor", "--fix")
    assert done.out == "pip install x 'y>=2' z && export NO_PROXY=localhost && metagym models get smollm2-135m\n"
    assert done.err == (
        "By hand: games: alfworld-download, then export ALFWORLD_DATA=FOLDER; or unset it\n"
        "By hand: model: export METAGYM_MODEL=NAME with OPENAI_API_KEY, or write --actor NAME@URL\n"
        "By hand: key: export OPENAI_API_KEY=...\n"
    )
    assert done.code == 1
    monkeypatch.setattr("metagym.doctor.examine", lambda *given, **more: [ok("c", "fine")])
    assert command("doctor", "--fix").out == "# No command is needed.\n"


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
    assert "must be 'llama.cpp', 'vllm' or 'transformers', got 'tgi'" in command("serve", "tiny", "--engine", "tgi").err
