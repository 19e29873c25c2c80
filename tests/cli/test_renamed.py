"""Options of the first release are refused with what to write instead."""

from __future__ import annotations

import pytest

from metagym.cli.renamed import INSTEAD
from tests.cli.conftest import Metagym

OLD = {
    ("run", "MetaGym/Gates-v0"): (
        *("--model", "--base-url", "--api-key-env", "--actor-model", "--actor-base-url", "--reflector-model"),
        *("--reflector-base-url", "--client", "--max-tokens", "--max-calls", "--max-cost", "--prompt", "--replay"),
    ),
    ("evaluate", "--preset", "ict"): ("--actor-model", "--reflector-model", "--client", "--no-controls", "--max-cost"),
    ("arena",): ("--model", "--base-url", "--reflectors", "--no-controls", "--max-tokens"),
    ("resume", "RUN"): ("--max-tokens", "--max-calls", "--max-cost"),
    ("estimate", "MetaGym/Gates-v0"): ("--price-prompt", "--price-completion"),
    ("doctor",): ("--model", "--base-url", "--api-key-env"),
    ("train", "collect", "MetaGym/Gates-v0"): ("--actor-model", "--api-key-env", "--reflector-base-url"),
}


@pytest.mark.parametrize(
    ("command_line", "option"), [(line, option) for line, options in OLD.items() for option in options]
)
def test_an_old_option_is_refused_with_the_new_spelling(
    command: Metagym, command_line: tuple[str, ...], option: str
) -> None:
    done = command(*command_line, option, "x")
    assert done.code == 2
    text = " ".join(done.err.replace("│", " ").split())
    assert f"{option} is no longer an option: write {INSTEAD[option][:40]}" in text
    assert command(*command_line, f"{option}=x").code == 2


def test_the_model_that_grpo_trains_is_its_reflector(command: Metagym) -> None:
    done = command("train", "grpo", "MetaGym/Gates-v0", "--model", "x")
    assert done.code == 2
    assert "--model is no longer an option: write --reflector FOLDER" in done.err


def test_every_old_option_is_tried_here() -> None:
    assert {option for options in OLD.values() for option in options} == set(INSTEAD)
