"""Chance: an arm that compares samples at temperature 0 is marked, and is no noise floor."""

from __future__ import annotations

from typing import Any

import pytest

from metagym.evaluation.chance import lacks_chance, misses
from metagym.evaluation.comparison import compare
from metagym.evaluation.controls import control_arm
from metagym.evaluation.memorisation import WithoutCopies
from metagym.evaluation.protocol import evaluate
from metagym.evaluation.report import build_report
from metagym.optimizers import BestOfN
from metagym.optional_attributes import extension_of
from metagym.reflectors.training_free_grpo_style import TrainingFreeGRPOStyle
from metagym.testing import FakeChatModel
from tests.conftest import MakeGates
from tests.evaluation.test_comparison import CONFIG, random_tables, report_of

COLD: Any = {"kind": "ChatActor", "model": {"sampling": {"temperature": 0.0}}}
WARM: Any = {"kind": "ChatActor", "model": {"sampling": {"temperature": 0.7}}}
DEFAULT: Any = {"kind": "ChatActor", "model": {"sampling": {}}}


@pytest.mark.parametrize(("fingerprint", "expected"), [(COLD, True), (WARM, False), (DEFAULT, False), (None, False)])
def test_temperature_0_is_no_chance_and_an_unknown_one_is_not_accused(fingerprint: Any, expected: bool) -> None:
    assert lacks_chance(fingerprint) is expected


@pytest.mark.parametrize(
    ("needs", "actor", "reflector", "expected"),
    [
        ("", COLD, COLD, False),
        ("actor", COLD, WARM, True),
        ("reflector", COLD, WARM, False),
        ("reflector", WARM, COLD, True),
        ("either", COLD, WARM, False),
        ("either", COLD, COLD, True),
        ("either", COLD, {"kind": "function"}, True),
    ],
)
def test_an_arm_misses_the_chance_that_it_needs(needs: Any, actor: Any, reflector: Any, expected: bool) -> None:
    assert misses(needs, actor, reflector) is expected


def test_methods_say_whose_chance_they_need() -> None:
    assert extension_of(BestOfN()).needs_chance == "reflector"
    assert extension_of(TrainingFreeGRPOStyle(None)).needs_chance == "actor"


def test_what_wraps_a_reflector_needs_the_same_chance() -> None:
    method = TrainingFreeGRPOStyle(FakeChatModel([]))
    for wrapped in (WithoutCopies(method), control_arm("permuted outcomes", method).reflector):
        about = extension_of(wrapped)
        assert (about.needs_chance, about.model) == ("actor", method.model)


def test_an_a_a_run_without_chance_is_noted_and_is_no_noise_floor() -> None:
    about: dict[str, Any] = {"measurement": {"actor": COLD}, "reflector": COLD}
    again = report_of(random_tables(1), arm="same again", kind="same again", needs_chance="either", **about)
    assert again.misses_chance
    assert any(note.startswith("same again needs chance, and its models have no chance") for note in again.notes)
    (found,) = compare([report_of(random_tables(0), **about), again])
    assert found.second_misses_chance
    assert not build_report(CONFIG, [], arm="mine").misses_chance


def test_an_evaluation_keeps_whose_chance_it_needs(make_gates: MakeGates) -> None:
    config = CONFIG.model_copy(update={"families": ("law-0007",), "num_seeds": 1, "num_validation": 1})
    report = evaluate(make_gates(), "fixed", config=config, optimizer=BestOfN(n=2, num_steps=1))
    assert report.needs_chance == "reflector"
