"""How a command ends: exit codes, errors without tracebacks, the saved part, and output that a script can read."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from metagym.cli.console import console, paged, print_text
from metagym.errors import (
    BadBatchError,
    BudgetExceededError,
    ConfigError,
    InnerEnvError,
    MetaGymError,
    ModelUnavailableError,
)
from tests.cli.conftest import Metagym
from tests.conftest import run_python

CLI = "from metagym.cli import main; main()"
STOPS = """
def stop(history):
    raise KeyboardInterrupt

def boom(history):
    raise ZeroDivisionError("by [red]zero[/red]")
"""


def test_a_terminal_obeys_no_text_of_a_model(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for is_terminal in (True, False):
        monkeypatch.setattr(console, "_force_terminal", is_terminal)
        print_text("red \x1b[31m and title \x1b]0;x\x07")
        assert ("\x1b" in capsys.readouterr().out) != is_terminal


@pytest.fixture
def lessons(command: Metagym, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module with reflectors that fail, in the folder of the call."""
    Path("stops.py").write_text(STOPS, encoding="utf-8")
    monkeypatch.syspath_prepend(os.getcwd())
    monkeypatch.delitem(sys.modules, "stops", raising=False)


def run_with(command: Metagym, reflector: str, *more: str) -> Any:
    return command("run", "MetaGym/Gates-v0", "--actor", "demo", "--reflector", reflector, "--out", "mine", *more)


@pytest.mark.usefixtures("lessons")
def test_ctrl_c_ends_with_130_and_says_how_to_resume(command: Metagym) -> None:
    done = run_with(command, "stops:stop")
    assert done.code == 130
    assert "What was played is in mine. Resume with: metagym resume mine" in done.err
    assert "Traceback" not in done.err


@pytest.mark.usefixtures("lessons")
def test_an_unexpected_error_is_a_sentence_that_says_how_to_see_more(command: Metagym) -> None:
    done = run_with(command, "stops:boom")
    assert done.code == 1
    assert "Unexpected ZeroDivisionError: by [red]zero[/red]" in done.err
    assert "with --debug to see the traceback" in done.err
    assert "metagym doctor --json" in done.err
    assert "Resume with: metagym resume mine" in done.err
    assert "Traceback" not in done.err


FAULTY = """
import gymnasium, metagym

class Lamp(gymnasium.Env):
    observation_space = action_space = metagym.TextSpace()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return f"Lamp {seed}.", {"available_actions": ("up",)}

    def step(self, action):
        return {}["lamp"], 0.0, True, False, {}

class LampMetaEnv(metagym.MetaEnv):
    make_inner_env = staticmethod(Lamp)

    def make_task_set(self):
        return metagym.TaskSet.from_seeds(Lamp, 60)
"""


def test_a_fault_of_the_users_environment_is_not_blamed_on_a_server(
    command: Metagym, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("lamps.py").write_text(FAULTY, encoding="utf-8")
    monkeypatch.syspath_prepend(os.getcwd())
    monkeypatch.delitem(sys.modules, "lamps", raising=False)
    done = command("run", "lamps:LampMetaEnv", "--actor", "random", "--reflector", "fixed", "--out", "mine")
    assert done.code == 1
    assert "KeyError: 'lamp' (lamps.py:12)" in done.err
    assert "The fault is in your own code, at the line in brackets." in done.err
    assert "server" not in done.err
    assert "doctor" not in done.err


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (ModelUnavailableError("no server"), "metagym doctor"),
        (InnerEnvError("broken"), "The fault is in the environment"),
        (BudgetExceededError("spent"), "--budget NAME=N"),
        (BadBatchError("all empty"), ""),
        (ConfigError("wrong"), ""),
    ],
)
def test_the_hint_fits_what_failed(
    command: Metagym, monkeypatch: pytest.MonkeyPatch, error: MetaGymError, hint: str
) -> None:
    def fail() -> None:
        raise error.with_traceback(None)

    monkeypatch.setattr("metagym.registration.meta_env_ids", fail)
    monkeypatch.setattr("metagym.errors._is_users", lambda file: False)  # this file would count as the user's
    done = command("envs")
    assert done.code == 1
    lines = done.err.strip().splitlines()
    assert (hint in lines[-1] and len(lines) == 2) if hint else len(lines) == 1


def test_a_full_disk_is_no_defect(command: Metagym, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("metagym.registration.meta_env_ids", fail)
    done = command("envs")
    assert (done.code, "defect" in done.err) == (1, False)
    assert "Make room for the output and the records, and give the command again." in done.err


@pytest.mark.usefixtures("lessons")
def test_debug_shows_the_traceback_from_any_place_in_the_command(
    command: Metagym,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ZeroDivisionError):
        run_with(command, "stops:boom", "--debug")
    monkeypatch.setenv("METAGYM_DEBUG", "1")
    with pytest.raises(Exception, match=r"Unknown meta-environment"):
        command("demo", "--env", "Nothing-v0")
    monkeypatch.setenv("METAGYM_DEBUG", "0")
    assert command("demo", "--env", "Nothing-v0").code == 1


def test_a_run_that_did_not_start_is_not_to_be_resumed(command: Metagym) -> None:
    command("demo", "-n", 1, "--out", "mine")
    done = command("demo", "-n", 1, "--out", "mine")
    assert "already holds a run" in done.err
    assert "What was played" not in done.err


def test_wrong_usage_ends_with_2(command: Metagym) -> None:
    assert command("demo", "--steps", 0).code == 2
    assert command("demo", "--no-such-option").code == 2
    assert command("dmo").code == 2


def test_piped_output_holds_no_control_codes_and_no_progress(tmp_path: Path) -> None:
    done = run_python(CLI, "demo", "-n", "2", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert "\r" not in done.stdout
    assert "The first prompt" in done.stdout


@pytest.mark.slow
def test_in_a_pipe_no_sentence_is_wrapped(tmp_path: Path) -> None:
    program = "import sys, logging; from metagym.cli import main\nsys.argv[1:] = ['doctor']\ntry: main()\nfinally: "
    done = run_python(f"{program}logging.getLogger('metagym').warning('word ' * 40)", cwd=tmp_path)
    assert f"WARNING {'word ' * 40}\n" in done.stderr
    run_python(CLI, "demo", "-n", "1", "--out", "mine", cwd=tmp_path)
    shown = run_python(CLI, "show", "mine", "--details", cwd=tmp_path).stdout
    assert "You walk a road with four gates. Find out how each gate opens, and pass them before dusk.\n" in shown
    estimate = run_python(CLI, "estimate", "MetaGym/Gates-v0", "--steps", "1", "--seeds", "2", cwd=tmp_path).stdout
    assert "80 tokens a reply, four bytes a token.\n" in estimate


def test_letters_that_the_output_does_not_know_are_replaced(tmp_path: Path) -> None:
    locale = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": ""}
    done = run_python(CLI, "demo", "-n", "2", env=locale, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "????" in done.stdout
    done = run_python(CLI, "doctor", env=locale, cwd=tmp_path)
    assert "-> export LANG=C.UTF-8 PYTHONUTF8=1" in done.stdout


@pytest.mark.parametrize("show", [("show", "Öffne 门", "--json"), ("watch", "Öffne 门", "--once", "--json")])
def test_json_loses_no_letter_in_any_encoding(command: Metagym, tmp_path: Path, show: tuple[str, ...]) -> None:
    command("demo", "-n", 1, "--out", "Öffne 门")
    done = run_python(CLI, *show, env={"PYTHONIOENCODING": "ascii"}, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Öffne 门" in json.dumps(json.loads(done.stdout), ensure_ascii=False)


def test_a_shell_completes_commands() -> None:
    env = {"_METAGYM_COMPLETE": "complete_bash", "COMP_WORDS": "metagym doc", "COMP_CWORD": "1"}
    code = "import sys; sys.argv[0] = 'metagym'; from metagym.cli import main; main()"
    done = run_python(code, env=env)
    assert done.stdout.split() == ["doctor"]


# The pager --------------------------------------------------------------------------------------------


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A terminal of ten lines, whose pager writes what it was given to the returned file."""
    screen = tmp_path / "paged"
    pager = f"{sys.executable} -c \"import sys; open('{screen}', 'w').write(sys.stdin.read())\""
    monkeypatch.setenv("PAGER", pager)
    monkeypatch.setattr(console, "_force_terminal", True)
    monkeypatch.setattr(console, "_height", 10)
    return screen


def test_long_output_goes_to_the_pager_of_a_terminal(terminal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with paged():
        print_text("\n".join(map(str, range(10))))
    assert terminal.read_text().split() == [str(number) for number in range(10)]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("why", ["short", "--no-pager", "PAGER is empty", "PAGER is not installed", "a pipe"])
def test_other_output_is_printed_at_once(
    why: str, terminal: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if why == "a pipe":
        monkeypatch.setattr(console, "_force_terminal", False)
    if why.startswith("PAGER"):
        monkeypatch.setenv("PAGER", "" if why.endswith("empty") else "no-such-pager-here")
    with paged(why != "--no-pager"):
        print_text("\n".join("123456789" if why == "short" else "123456789abc"))
    assert "9" in capsys.readouterr().out
    assert not terminal.exists()


def test_what_was_printed_before_an_error_is_not_lost(terminal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    @paged()
    def print_and_fail() -> None:
        print_text("before")
        raise ConfigError("the rest cannot be read")

    with pytest.raises(ConfigError):
        print_and_fail()
    assert capsys.readouterr().out == "before\n"
