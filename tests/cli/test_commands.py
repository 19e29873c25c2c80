"""The command line: it asks, it prints, and an error is a sentence and exit code 1."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import metagym
from metagym import cli
from metagym.models.client_config import PLACEHOLDER_KEY
from metagym.runs import LOG, RunFolder
from metagym.testing import ServerReply
from tests.conftest import Serve, run_python


class Done(NamedTuple):
    code: int
    out: str
    err: str


Metagym = Callable[..., Done]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Metagym:
    """Run `metagym ...` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for terminal in (cli.console, cli.errors):  # they read COLUMNS once, when they are made
        monkeypatch.setattr(terminal, "_width", 200)

    def call(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["metagym", *map(str, arguments)])
        capsys.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else 0
        return Done(code, *capsys.readouterr())

    return call


def rewards_in(text: str) -> list[float]:
    return [float(found) for found in re.findall(r"^│\s*\d+\s*│ (-?\d\.\d\d)\s*│", text, re.MULTILINE)]


def test_a_reflector_of_ones_own_is_found_in_the_folder_of_the_call(tmp_path: Path) -> None:
    """An installed script, unlike `python -m`, does not put that folder on the path."""
    (tmp_path / "lessons.py").write_text("def same(history):\n    return history[-1].prompt\n", encoding="utf-8")
    code = "import sys; sys.path[:] = filter(None, sys.path); from metagym.cli import main; main()"
    arguments = ("run", "MetaGym/Gates-v0", "--actor", "demo", "--reflector", "lessons:same", "-n", "1")
    done = run_python(code, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


# demo -------------------------------------------------------------------------------------------------


def test_demo_shows_a_prompt_getting_better_and_where_the_record_lies(command: Metagym) -> None:
    done = command("demo")
    assert done.code == 0, done.err
    rewards = rewards_in(done.out)
    assert len(rewards) == 10
    assert sum(rewards[-3:]) / 3 >= rewards[0] + 0.3
    assert "First prompt (meta-step 0)" in done.out
    assert "Last prompt (meta-step 9)" in done.out
    assert "when the gate is" in done.out
    assert "SCRIPTED" in done.out
    assert "The record lies in runs/demo-gates-v0-seed0" in done.out
    assert len(RunFolder.open("runs/demo-gates-v0-seed0").history) == 10


def test_demo_takes_steps_seed_and_folder(command: Metagym) -> None:
    done = command("demo", "-n", 2, "--seed", 3, "--out", "mine")
    assert done.code == 0
    run = RunFolder.open("mine")
    assert (run.manifest.seed, len(run.history)) == (3, 2)


def test_a_second_demo_gets_a_folder_of_its_own(command: Metagym) -> None:
    command("demo", "-n", 1)
    assert "runs/demo-gates-v0-seed0-2" in command("demo", "-n", 1).out


def test_a_folder_that_holds_a_run_is_refused(command: Metagym) -> None:
    command("demo", "-n", 1, "--out", "mine")
    done = command("demo", "-n", 1, "--out", "mine")
    assert done.code == 1
    assert "Error: mine holds a run already. Go on with it (metagym resume mine)" in done.err


def test_an_unknown_environment_is_a_sentence_with_the_nearest_name(command: Metagym) -> None:
    done = command("demo", "--env", "MetaGym/Gats-v0")
    assert done.code == 1
    assert "Unknown meta-environment 'MetaGym/Gats-v0'" in done.err
    assert "Did you mean 'MetaGym/Gates-v0'" in done.err
    assert "Traceback" not in done.err


def test_wrong_usage_ends_with_2(command: Metagym) -> None:
    assert command("demo", "--steps", 0).code == 2
    assert command("demo", "--no-such-option").code == 2
    assert command("dmo").code == 2


# run --------------------------------------------------------------------------------------------------


def test_run_without_a_model_says_what_to_set(command: Metagym) -> None:
    done = command("run", "MetaGym/Gates-v0")
    assert done.code == 1
    assert "No actor is named, and a measurement plays no stand-in unasked" in done.err
    for remedy in ("--model NAME", "--base-url http://localhost:8000/v1", "--actor-model NAME", "--actor demo"):
        assert remedy in done.err
    assert not Path("runs").exists()


def test_run_without_a_reflector_says_what_to_set(command: Metagym) -> None:
    done = command("run", "MetaGym/Gates-v0", "--actor", "demo")
    assert done.code == 1
    assert "No reflector is named" in done.err


def test_run_does_not_take_a_stand_in_from_the_environment(command: Metagym, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAGYM_MODEL", "m")
    assert command("run", "MetaGym/Gates-v0").code == 1


def answer(request: Any) -> str:
    """Play and reflect: the reflector's instructions ask for an improved prompt."""
    if "IMPROVED PROMPT" in request.messages[0]["content"]:
        return "ANALYSIS: fine.\nIMPROVED PROMPT: Knock everywhere."
    return "Thought: so be it\nAction: knock"


def test_run_drives_actor_and_reflector_on_one_server(command: Metagym, serve: Serve) -> None:
    server = serve(answer)
    done = command(
        *("run", "MetaGym/Gates-v0", "--model", "m", "--base-url", server.base_url, "--steps", 2),
        *("--option", 'families=["law-0000"]', "--option", "episodes_per_step=2", "--out", "mine"),
    )
    assert done.code == 0, done.err
    assert rewards_in(done.out) == [1.0, 1.0]
    assert "Knock everywhere." in done.out
    assert "SCRIPTED" not in done.out
    run = RunFolder.open("mine")
    assert not run.manifest.scripted
    assert run.manifest.env_options["actor"] == {"model": "m", "base_url": server.base_url}
    assert {request.headers["Authorization"] for request in server.requests} == {f"Bearer {PLACEHOLDER_KEY}"}


def test_run_takes_another_model_and_server_for_the_reflector(command: Metagym, serve: Serve) -> None:
    actor, reflector = serve("Action: knock"), serve("IMPROVED PROMPT: Other.")
    done = command(
        *("run", "MetaGym/Gates-v0", "--actor-model", "small", "--actor-base-url", actor.base_url),
        *("--reflector-model", "big", "--reflector-base-url", reflector.base_url, "-n", 2, "--out", "mine"),
    )
    assert done.code == 0, done.err
    assert {request.body["model"] for request in actor.requests} == {"small"}
    assert [request.body["model"] for request in reflector.requests] == ["big"]
    assert reflector.requests[0].body["max_tokens"] == 2_000


def test_run_takes_the_first_prompt_from_a_file(command: Metagym, tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("Mine, with é.", encoding="utf-8")
    arguments = ("run", "MetaGym/Gates-v0", "--actor", "demo", "--reflector", "fixed", "-n", 1)
    done = command(*arguments, "--prompt", "prompt.txt")
    assert "Mine, with é." in done.out
    done = command(*arguments, "--prompt", "no-such-file.txt")
    assert done.code != 0
    assert "no-such-file.txt" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("episodes_per_step", "--option expects NAME=VALUE, got 'episodes_per_step'"),
        ("episodes_per_step=0", "Option 'episodes_per_step' got 0"),
        ("episodes=3", "Unknown option 'episodes': expected one of"),
        ("split=trian", "Unknown split 'trian'"),
        ("families=law-0001", "families must be a list of names"),
    ],
)
def test_a_bad_option_is_a_sentence(command: Metagym, option: str, told: str) -> None:
    done = command("run", "MetaGym/Gates-v0", "--actor", "demo", "--reflector", "fixed", "--option", option)
    assert done.code == 1
    assert told in done.err
    assert "Traceback" not in done.err


@pytest.mark.usefixtures("quick_retries")
def test_a_server_that_fails_says_how_to_go_on_and_going_on_works(command: Metagym, serve: Serve) -> None:
    down = [True]
    server = serve(lambda request: ServerReply(status=500) if down[0] else answer(request))
    options = ("--model", "m", "--base-url", server.base_url, "--option", "episodes_per_step=2", "-n", 2)
    done = command("run", "MetaGym/Gates-v0", *options, "--out", "mine")
    assert done.code == 1
    assert "What was played is in mine. Go on with: metagym resume mine" in done.err
    assert "2 of 2 episodes failed" in done.err
    down[0] = False
    done = command("resume", "mine")
    assert done.code == 0, done.err
    assert len(rewards_in(done.out)) == 2


# resume and show --------------------------------------------------------------------------------------


def test_resume_goes_on_to_the_same_log(command: Metagym) -> None:
    command("demo", "-n", 4, "--out", "mine")
    log = Path("mine") / LOG
    whole = log.read_bytes()
    log.write_bytes(whole[: len(whole) // 2])
    assert command("resume", "mine").code == 0
    assert log.read_bytes() == whole


def test_show_prints_the_run(command: Metagym) -> None:
    demo = command("demo", "-n", 3, "--out", "mine")
    done = command("show", "mine")
    assert rewards_in(done.out) == rewards_in(demo.out)
    assert len(rewards_in(done.out)) == 3
    assert "15 episodes in mine" in done.out
    assert "SCRIPTED" in done.out


def test_show_prints_the_episodes_of_a_meta_step(command: Metagym) -> None:
    command("demo", "-n", 2, "--out", "mine")
    done = command("show", "mine", "--step", 1)
    assert "=== Episode 5 of 5 ===" in done.out
    assert "[Step 1] Observation: You stand before the" in done.out


def test_show_of_a_step_that_is_not_there_is_a_sentence(command: Metagym) -> None:
    command("demo", "-n", 2, "--out", "mine")
    done = command("show", "mine", "--step", 2)
    assert done.code == 1
    assert "--step must be from 0 to 1, got 2" in done.err


def test_show_of_a_run_without_a_meta_step_says_so(command: Metagym) -> None:
    command("demo", "-n", 1, "--out", "mine")
    (Path("mine") / LOG).write_bytes(b"")
    assert "No meta-step was finished." in command("show", "mine").out
    done = command("show", "mine", "--step", 0)
    assert done.code == 1
    assert "No meta-step was finished" in done.err


@pytest.mark.parametrize("name", ["show", "resume"])
def test_a_folder_without_a_run_is_a_sentence(command: Metagym, name: str) -> None:
    done = command(name, "nowhere")
    assert done.code == 1
    assert "Error: Expected a run folder" in done.err


# envs and the rest ------------------------------------------------------------------------------------


def test_envs_lists_the_meta_environments(command: Metagym) -> None:
    done = command("envs")
    assert "MetaGym/Gates-v0" in done.out
    assert "GatesText" not in done.out
    rows = json.loads(command("envs", "--json").out)
    assert {"id": "MetaGym/Gates-v0", "max_episode_steps": 10, "missing": None} in rows


def test_version_prints_the_version(command: Metagym) -> None:
    assert command("--version").out == f"{metagym.__version__}\n"


def test_without_a_command_the_help_is_printed(command: Metagym) -> None:
    done = command()
    assert "demo" in done.out + done.err


def test_piped_output_has_no_control_codes(tmp_path: Path) -> None:
    done = run_python("from metagym.cli import main; main()", "demo", "-n", "2", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert "\r" not in done.stdout
    assert "First prompt" in done.stdout


# reflectors by name -----------------------------------------------------------------------------------


def test_run_takes_a_method_by_name_with_its_model_and_resumes(command: Metagym) -> None:
    arguments = ("run", "MetaGym/Gates-v0", "--actor", "demo", "--reflector", "ace_style", "--reflector-model", "demo")
    done = command(*arguments, "--steps", 3, "--seed", 1, "--out", "r")
    assert done.code == 0, done.err
    assert rewards_in(done.out)[-1] == 1.0
    assert "SCRIPTED" in done.out
    with RunFolder.open("r") as run:
        assert run.manifest.reflector == {"method": "ace_style", "model": "demo"}
        assert run.history[-1].reflection is not None
        assert run.history[-1].reflection.memory["items"]
    assert command("resume", "r").out == done.out


@pytest.mark.parametrize(
    ("reflector", "told"),
    [
        ("ace_stile", "Did you mean 'ace_style'"),
        (
            "ace_style",
            "The method 'ace_style' needs a model: {'method': 'ace_style', 'model': ...",
        ),
    ],
)
def test_a_method_that_cannot_be_made_is_told(command: Metagym, reflector: str, told: str) -> None:
    done = command("run", "MetaGym/Gates-v0", "--actor", "demo", "--reflector", reflector, "--out", "r")
    assert done.code == 1
    assert told in done.err


def test_a_prompt_that_is_no_text_is_told(command: Metagym, tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_bytes(b"\xff\xfe")
    done = command("run", "MetaGym/Gates-v0", "--actor", "demo", "--reflector", "demo", "--prompt", "prompt.txt")
    assert done.code == 1
    assert "--prompt expects a file of text in UTF-8, got prompt.txt" in done.err


def test_a_reflector_whose_name_is_longer_than_a_files_is_unknown(command: Metagym) -> None:
    done = command("run", "MetaGym/Gates-v0", "--actor", "demo", "--reflector", "x" * 300)
    assert done.code == 1
    assert "Unknown reflector" in done.err
