"""How a command ends: exit codes, errors without tracebacks, what was saved, and output that a script can read."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from metagym.cli import app
from tests.cli.test_commands import Metagym, command  # noqa: F401 - a fixture
from tests.conftest import run_python

CLI = "from metagym.cli import main; main()"
WITHOUT_JSON = {"serve", "export", "plot", "train demo", "train collect", "train grpo", "train export"}
"""What prints no data: it serves, or writes files."""
STOPS = """
def stop(history):
    raise KeyboardInterrupt

def boom(history):
    raise ZeroDivisionError("by [red]zero[/red]")
"""


@pytest.fixture
def lessons(command: Metagym, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """A module with reflectors that fail, in the folder of the call."""
    Path("stops.py").write_text(STOPS, encoding="utf-8")
    monkeypatch.syspath_prepend(os.getcwd())
    monkeypatch.delitem(sys.modules, "stops", raising=False)


def run_with(command: Metagym, reflector: str, *more: str) -> Any:  # noqa: F811
    return command("run", "MetaGym/Gates-v0", "--actor", "demo", "--reflector", reflector, "--out", "mine", *more)


@pytest.mark.usefixtures("lessons")
def test_ctrl_c_ends_with_130_and_says_how_to_go_on(command: Metagym) -> None:  # noqa: F811
    done = run_with(command, "stops:stop")
    assert done.code == 130
    assert "What was played is in mine. Go on with: metagym resume mine" in done.err
    assert "Traceback" not in done.err


@pytest.mark.usefixtures("lessons")
def test_an_unexpected_error_is_a_sentence_that_says_how_to_see_more(command: Metagym) -> None:  # noqa: F811
    done = run_with(command, "stops:boom")
    assert done.code == 1
    assert "Unexpected ZeroDivisionError: by [red]zero[/red]" in done.err
    assert "with --debug shows where" in done.err
    assert "metagym doctor --json" in done.err
    assert "Go on with: metagym resume mine" in done.err
    assert "Traceback" not in done.err


@pytest.mark.usefixtures("lessons")
def test_debug_shows_the_traceback_wherever_it_stands(
    command: Metagym,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ZeroDivisionError):
        run_with(command, "stops:boom", "--debug")
    monkeypatch.setenv("METAGYM_DEBUG", "1")
    with pytest.raises(Exception, match=r"Unknown meta-environment"):
        command("demo", "--env", "Nothing-v0")
    monkeypatch.setenv("METAGYM_DEBUG", "0")
    assert command("demo", "--env", "Nothing-v0").code == 1


def test_what_was_not_begun_is_not_to_be_gone_on_with(command: Metagym) -> None:  # noqa: F811
    command("demo", "-n", 1, "--out", "mine")
    done = command("demo", "-n", 1, "--out", "mine")
    assert "holds a run already" in done.err
    assert "What was played" not in done.err


def test_a_demo_a_run_and_a_resume_print_json(command: Metagym) -> None:  # noqa: F811
    done = command("demo", "-n", 2, "--out", "mine", "--json")
    told = json.loads(done.out)
    assert (told["run"], told["scripted"], len(told["rewards"]), len(told["prompts"])) == ("mine", True, 2, 2)
    assert json.loads(command("resume", "mine", "--json").out) == told
    shown = json.loads(command("show", "mine", "--json").out)
    assert shown == {**told, "num_episodes": 10}
    assert json.loads(command("show", "mine", "--step", 1, "--json").out)["prompt"] == told["prompts"][1]
    assert json.loads(command("verify", "mine", "--json").out)["differences"] == []


def test_an_estimate_prints_json(command: Metagym) -> None:  # noqa: F811
    prices = ("--price-prompt", 1, "--price-completion", 2)
    told = json.loads(command("estimate", "MetaGym/Gates-v0", "--effect", 0.1, *prices, "--json").out)
    assert set(told["loads"]) == {"actor", "actor, at most", "reflector"}
    load = told["loads"]["actor"]
    assert load["cost"] == pytest.approx((load["prompt_tokens"] + 2 * load["completion_tokens"]) / 1e6)
    assert told["num_seeds_needed"] == 7


def every_command(group: Any = None, path: tuple[str, ...] = ()) -> list[tuple[str, Any]]:
    found = []
    for name, item in (group or typer.main.get_command(app)).commands.items():
        is_group = hasattr(item, "commands")
        found += every_command(item, (*path, name)) if is_group else [(" ".join((*path, name)), item)]
    return found


@pytest.mark.parametrize(("name", "item"), every_command(), ids=[name for name, _ in every_command()])
def test_every_command_has_help_and_those_that_print_data_print_json(name: str, item: Any) -> None:
    assert item.help
    options = {option for parameter in item.params for option in parameter.opts}
    assert "--json" in options or name in WITHOUT_JSON
    for parameter in item.params:
        assert getattr(parameter, "help", "argument"), f"{name}: {parameter.name} has no help"


def test_the_help_says_where_to_begin_and_how_a_command_ends(command: Metagym) -> None:  # noqa: F811
    for arguments in (("--help",), ()):
        text = command(*arguments).out
        assert "Begin with metagym demo" in text
        assert "0 done, 1 an error or a difference found, 2 wrong usage, 130 stopped by Ctrl-C" in text
        assert all(f"─ {panel} ─" in text for panel in ("See", "Run", "Measure", "Train", "Environments", "Help"))
    assert "metagym run MetaGym/Gates-v0 --model Qwen/Qwen3-8B" in command("run", "--help").out


def test_piped_output_holds_no_control_codes_and_no_progress(tmp_path: Path) -> None:
    done = run_python(CLI, "demo", "-n", "2", cwd=tmp_path)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr
    assert "episodes ━" not in done.stderr


def test_letters_that_the_output_does_not_know_are_replaced(tmp_path: Path) -> None:
    locale = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": ""}
    done = run_python(CLI, "demo", "-n", "2", env=locale, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "????" in done.stdout
    done = run_python(CLI, "doctor", env=locale, cwd=tmp_path)
    assert "-> export LANG=C.UTF-8 PYTHONUTF8=1" in done.stdout


def test_a_shell_completes_commands() -> None:
    env = {"_METAGYM_COMPLETE": "complete_bash", "COMP_WORDS": "metagym doc", "COMP_CWORD": "1"}
    code = "import sys; sys.argv[0] = 'metagym'; from metagym.cli import main; main()"
    done = run_python(code, env=env)
    assert done.stdout.split() == ["doctor"]
