"""`metagym train`: it asks, it prints, and an error is a sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from metagym import cli
from tests.conftest import run_python

Metagym = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Metagym:
    """Run `metagym ...` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["metagym", *map(str, arguments)])
        capsys.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else 0
        return code, *capsys.readouterr()

    return call


GATES = ("MetaGym/Gates-v0", "--actor", "demo", "--option", "episodes_per_step=2")


def test_collect_writes_tuples_and_goes_on(command: Metagym) -> None:
    arguments = ("train", "collect", *GATES, "--reflector", "demo", "--steps", 2, "--out", "data")
    code, out, err = command(*arguments, "--loops", 2)
    assert (code, out) == (0, "4 tuples in data\n"), err
    assert command(*arguments, "--loops", 3)[1] == "6 tuples in data\n"


def test_collect_without_an_actor_or_a_reflector_says_what_to_set(command: Metagym) -> None:
    code, _, err = command("train", "collect", "MetaGym/Gates-v0", "--out", "data")
    assert code == 1
    assert "No actor is named, and training plays no stand-in unasked. Say --actor-model NAME" in err
    code, _, err = command("train", "collect", *GATES, "--out", "data")
    assert code == 1
    assert "No reflector is named" in err


def test_collect_takes_a_method_by_name(command: Metagym) -> None:
    arguments = ("--reflector", "reflexion_style", "--reflector-model", "demo", "--steps", 2, "--loops", 2)
    code, out, err = command("train", "collect", *GATES, *arguments, "--out", "data")
    assert (code, out) == (0, "4 tuples in data\n"), err


@pytest.mark.train
def test_grpo_trains_on_what_was_collected(command: Metagym, tiny_start: Path) -> None:
    command("train", "collect", *GATES, "--reflector", "demo", "--loops", 2, "--steps", 2, "--out", "data")
    arguments = (
        *("train", "grpo", *GATES, "--model", tiny_start, "--data", "data", "--out", "run", "-n", 2),
        *("--grpo", "group_size=2", "--grpo", "groups_per_step=2", "--grpo", "max_new_tokens=8"),
        *("--render", "metagym.training.problem:compact_messages"),
    )
    code, out, err = command(*arguments)
    assert code == 0, err
    assert "The trained reflector: run/checkpoints/000002" in out
    code, out, err = command("run", *GATES, "--reflector", "run/checkpoints/000002", "-n", 2)
    assert code == 0, err
    assert "The record lies in" in out


@pytest.mark.train
@pytest.mark.parametrize(
    ("option", "told"),
    [
        (("--grpo", "group_size=1"), "group_size must be at least 2, got 1"),
        (("--grpo", "groupsize=4"), "GRPOConfig got groupsize=4"),
        (("--reward", "on=later"), "must be 'same' or 'fresh', got 'later'"),
        (("--model", "."), "Expected a causal language model"),
        (("--data", "nowhere"), "Make it: metagym train collect"),
        (("--option", "episodes_per_step=3"), "Expected experience of this environment"),
    ],
)
def test_a_bad_option_is_a_sentence(command: Metagym, tiny_start: Path, option: tuple[str, str], told: str) -> None:
    command("train", "collect", *GATES, "--reflector", "demo", "--loops", 1, "--steps", 1, "--out", "data")
    code, _, err = command("train", "grpo", *GATES, "--model", tiny_start, "--data", "data", "--out", "run", *option)
    assert code == 1
    assert told in err.replace("\n", " ")
    assert "Traceback" not in err


def test_without_torch_training_names_the_extra(tmp_path: Path) -> None:
    code = "import sys; sys.modules['torch'] = None; from metagym.cli import main; main()"
    done = run_python(code, "train", "demo", cwd=tmp_path)
    assert done.returncode == 1
    assert "pip install 'metagym[train]'" in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


def test_the_command_line_loads_no_torch() -> None:
    done = run_python("import sys, metagym.cli; print([name for name in sys.modules if name.split('.')[0] == 'torch'])")
    assert done.stdout == "[]\n"
