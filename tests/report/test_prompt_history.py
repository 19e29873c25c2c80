"""What changed from one prompt to the next."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metagym.envs.gates.demo import GatesDemoReflector
from metagym.evaluation import EvaluationConfig, evaluate
from metagym.report.prompt_history import MAX_CELLS, _rows, histories, word_diff
from metagym.report.run_reading import read_runs
from metagym.runs import RunFolder
from metagym.types import Reflection
from tests.conftest import MakeGates

TEXTS = st.text(alphabet=" \nabc.-", max_size=60)


@given(TEXTS, TEXTS)
def test_a_diff_holds_both_texts_whole(old: str, new: str) -> None:
    changes = word_diff(old, new)
    assert "".join(text for kind, text in changes if kind != "+") == old
    assert "".join(text for kind, text in changes if kind != "-") == new
    assert all(text for _, text in changes)


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ("Same.", "Same.", [("=", "Same.")]),
        ("", "New.", [("+", "New.")]),
        ("push it", "push them all", [("=", "push "), ("-", "it"), ("+", "them all")]),
        # A word is never cut, though both begin and end alike.
        ("a reading b", "a riding b", [("=", "a "), ("-", "reading"), ("+", "riding"), ("=", " b")]),
        # An added line begins at its own start, not within the marks that it shares with the next one.
        ("Go.\n- when b", "Go.\n- when a\n- when b", [("=", "Go.\n"), ("+", "- when a\n"), ("=", "- when b")]),
    ],
)
def test_what_is_marked_is_what_a_reader_would_mark(old: str, new: str, changes: list[tuple[str, str]]) -> None:
    assert word_diff(old, new) == changes


def test_a_long_text_is_compared_by_lines_and_one_that_is_too_long_is_replaced_as_a_whole() -> None:
    many = "".join(f"line {number} of old\n" for number in range(600))
    assert len(many.split()) ** 2 > MAX_CELLS
    changes = [("-", "x"), ("+", "y"), ("=", f"\n{many}"), ("-", "a"), ("+", "b")]
    assert word_diff(f"x\n{many}a", f"y\n{many}b") == changes
    scattered = many.replace("7 of", "7 at")
    assert {kind for kind, _ in word_diff(many, scattered)} == {"=", "-", "+"}
    old, new = ("\n".join(f"{mark}{number}" for number in range(3_000)) for mark in "ab")
    assert MAX_CELLS < 3_000**2
    assert word_diff(old, new) == [("-", old), ("+", new)]


def test_a_prompt_that_changes_a_tools_description_names_the_part() -> None:
    prompts = ["Pay.", "Pay twice.", "Pay twice.\n\n## Tool: pay\nPay once."]
    rows = _rows((prompt, None, {"score": 0.0}) for prompt in prompts)
    assert [row.get("parts") for row in rows] == [None, None, ("Tool: pay",)]


def test_the_prompt_of_the_last_reflection_is_shown_as_one_that_was_not_played(learning: Path) -> None:
    with RunFolder.open(learning, writing=True) as run:
        run.put(("", 2), Reflection(prompt="Be kind.", analysis="Kindness helps."))
    (history,) = histories(read_runs([learning], max_episodes=0))
    assert len(history["rows"]) == 4
    last = history["rows"][-1]
    assert (last["prompt"], last["analysis"], last["score"]) == ("Be kind.", "Kindness helps.", None)
    assert [row.get("played", True) for row in history["rows"]] == [True, True, True, False]


def test_an_evaluation_without_validation_shows_the_last_prompt_too(make_gates: MakeGates, tmp_path: Path) -> None:
    config = EvaluationConfig(families=("law-0007",), num_steps=2, num_seeds=2, num_validation=0, num_test=2)
    evaluate(make_gates(episodes_per_step=2), GatesDemoReflector(), config=config, path=tmp_path / "run")
    found = histories(read_runs([tmp_path / "run"], max_episodes=0))
    assert [len(history["rows"]) for history in found] == [3, 3]
