"""The demo actors' grammar."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metagym.envs.instructions import MAX_INSTRUCTIONS, Instruction, read_instructions, write_instructions


@pytest.mark.parametrize(
    "line",
    [
        "when the gate is oak, knock",
        "When the gate is OAK, Knock.",
        "- when the gate is oak, knock",
        "* when the gate is oak,  knock",
        "1. when the gate is oak, knock.",
        "  2) when  the gate is\toak, knock",
    ],
)
def test_an_instruction_is_read_up_to_case_white_space_and_list_marks(line: str) -> None:
    assert read_instructions(f"Be brave.\n{line}\nGood luck.") == (Instruction("the gate is oak", "knock"),)


@pytest.mark.parametrize(
    "line", ["knock", "when the gate is oak knock", "the gate is oak, knock", "whenever, knock", ""]
)
def test_other_lines_are_not_instructions(line: str) -> None:
    assert read_instructions(line) == ()


def test_at_most_the_first_four_are_read_in_order() -> None:
    prompt = "\n".join(f"when it is {n}, do {n}" for n in range(9))
    assert MAX_INSTRUCTIONS == 4
    assert [item.do for item in read_instructions(prompt)] == ["do 0", "do 1", "do 2", "do 3"]
    assert len(read_instructions(prompt, limit=None)) == 9


words = st.lists(st.text("abcxyz", min_size=1, max_size=6), min_size=1, max_size=3).map(" ".join)


@given(st.lists(st.builds(Instruction, words, words), max_size=6))
def test_written_instructions_are_read_back(instructions: list[Instruction]) -> None:
    assert read_instructions(write_instructions(instructions), limit=None) == tuple(instructions)


@given(st.text(max_size=200))
def test_any_prompt_can_be_read(prompt: str) -> None:
    assert len(read_instructions(prompt)) <= MAX_INSTRUCTIONS
