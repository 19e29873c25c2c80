"""The commands together: help, JSON, the number of options, and examples that run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

import metagym
from metagym.cli import app
from tests.cli.conftest import Metagym
from tests.test_docs import check_command

WITHOUT_JSON = {"serve", "note", "export", "plot", "train demo", "train collect", "train grpo", "train export"}
"""Commands that print no data: they serve, or write files."""
SLOW = {
    "serve",
    "models get",
    "evaluate",
    "extend",
    "compare",
    "arena",
    "train demo",
    "train grpo",
    "train export",
    "minihack levels",
}
"""Commands whose first example takes long, or needs a model or an extra."""


def every_command(group: Any = None, path: tuple[str, ...] = ()) -> list[tuple[str, Any]]:
    found = []
    for name, item in (group or typer.main.get_command(app)).commands.items():
        is_group = hasattr(item, "commands")
        found += every_command(item, (*path, name)) if is_group else [(" ".join((*path, name)), item)]
    return found


COMMANDS = dict(every_command())


def examples_of(name: str) -> list[list[str]]:
    lines = [re.sub(r"\\\[", "[", line) for line in COMMANDS[name].epilog.split("\n\n")]
    return [shlex.split(line) for line in lines if line.startswith("metagym ")]


def options_of(name: str) -> set[str]:
    return {option for parameter in COMMANDS[name].params for option in parameter.opts}


def test_all_commands_are_there() -> None:
    alone = (
        "demo show watch report note plot runs run resume repair estimate serve verify evaluate extend compare gate"
        " arena export envs doctor"
    )
    in_train = {"train demo", "train collect", "train grpo", "train export"}
    in_groups = {
        "presets list",
        "presets show",
        "models list",
        "models get",
        "alfworld generate",
        "minihack levels",
        "tasks check",
    }
    assert set(COMMANDS) == set(alone.split()) | in_train | in_groups


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_those_that_print_data_print_json(name: str) -> None:
    assert COMMANDS[name].help
    assert "--json" in options_of(name) or name in WITHOUT_JSON
    for parameter in COMMANDS[name].params:
        assert getattr(parameter, "help", "argument"), f"{name}: {parameter.name} has no help"


@pytest.mark.parametrize("name", ["run", "evaluate", "arena"])
def test_the_main_commands_have_at_most_ten_options(name: str) -> None:
    options = [item.name for item in COMMANDS[name].params if item.param_type_name == "option" and item.name != "help"]
    assert len(options) <= 10, options


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_an_example_whose_options_exist(name: str) -> None:
    lines = examples_of(name)
    assert lines
    assert lines[0][1 : 1 + len(name.split())] == name.split()
    for line in lines:
        check_command(line[1:], f"metagym {name} --help")


def test_the_first_example_of_each_command_runs(command: Metagym) -> None:
    """In the order of the help: each begins with what the ones before it wrote."""
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    for prompt in ("old.md", "new.md"):
        Path(prompt).write_text("Knock at every gate.", encoding="utf-8")
    for name in [name for name in COMMANDS if name not in SLOW]:
        done = command(*examples_of(name)[0][1:])
        if name == "gate":
            assert (done.code, done.out.partition(":")[0]) == (4, "cannot tell")  # the prompts are equal
        else:
            assert done.code == 0 or name == "doctor", f"{name}: {done.err}"


@pytest.mark.parametrize("name", [name for name in COMMANDS if "--seed" in options_of(name)])
def test_no_seed_is_below_0(command: Metagym, name: str) -> None:
    done = command(*name.split(), *examples_of(name)[0][1 + len(name.split()) :], "--seed", -1)
    assert (done.code, "Invalid value for '--seed'" in done.err) == (2, True)
    assert not Path("runs").exists()


def test_the_help_of_a_command_with_models_explains_spec(command: Metagym) -> None:
    for name in ("run", "evaluate", "arena", "estimate", "train collect", "train grpo"):
        text = " ".join(command(*name.split(), "--help").out.split())
        assert "NAME@URL: a model on a server: Qwen/Qwen3-8B@http://localhost:8000/v1" in text
        assert '"api_key_env": VARIABLE' in text
    assert """workers='{"processes": 4, "step_timeout_s": 20}'""" in command("run", "--help").out


def test_the_help_says_how_to_begin_and_how_a_command_ends(command: Metagym) -> None:
    for arguments in (("--help",), ()):
        text = command(*arguments).out
        assert "Begin with metagym demo" in text
        assert "0 done, 1 an error or a difference found, 2 wrong usage, 130 stopped by Ctrl-C" in text
        assert all(f"─ {panel} ─" in text for panel in ("See", "Run", "Measure", "Train", "Environments", "Help"))


def test_version_prints_the_version(command: Metagym) -> None:
    assert command("--version").out == f"{metagym.__version__}\n"
