"""The spaces: any text that can be encoded, up to a length; and batches of trajectories."""

from __future__ import annotations

import json

import pytest
from gymnasium.vector.utils import batch_space
from hypothesis import given
from hypothesis import strategies as st

from metagym.errors import InvalidPromptError
from metagym.spaces import PromptSpace, TextSpace, TrajectorySpace
from tests.conftest import make_step, make_trajectory


@given(st.text(max_size=50))
def test_any_text_that_can_be_encoded_is_in_the_space(text: str) -> None:
    assert text in TextSpace()


@pytest.mark.parametrize("space", [TextSpace(7), PromptSpace(7)])
def test_the_length_limit_is_exact(space: TextSpace) -> None:
    assert "é" * 7 in space
    assert "é" * 8 not in space


@pytest.mark.parametrize("value", [None, 3, b"bytes", ["text"], "a\ud800b"])
def test_a_value_that_is_not_legal_text_is_not_in_the_space(value: object) -> None:
    assert value not in TextSpace()


@pytest.mark.parametrize("space", [TextSpace(), TextSpace(1), PromptSpace(), PromptSpace(3)])
def test_samples_are_in_the_space(space: TextSpace) -> None:
    assert all(space.sample() in space for _ in range(100))


def test_equal_seeds_give_equal_samples() -> None:
    one, two = PromptSpace(seed=5), PromptSpace(seed=5)
    assert [one.sample() for _ in range(5)] == [two.sample() for _ in range(5)]


def test_spaces_are_equal_by_kind_and_length() -> None:
    assert TextSpace(5) == TextSpace(5)
    assert hash(TextSpace(5)) == hash(TextSpace(5))
    assert TextSpace(5) != TextSpace(6)
    assert TextSpace(5) != PromptSpace(5)
    assert TextSpace(5) != "TextSpace(max_length=5)"
    assert TrajectorySpace() == TrajectorySpace()
    assert hash(TrajectorySpace()) == hash(TrajectorySpace())
    assert TrajectorySpace() != TextSpace()


def test_texts_go_through_json() -> None:
    space = TextSpace()
    samples = ["é", "", "—\n"]
    assert space.from_jsonable(json.loads(json.dumps(space.to_jsonable(samples)))) == samples


def test_batches_of_trajectories_go_through_json() -> None:
    space = TrajectorySpace()
    samples = [(), (make_trajectory([make_step()]), make_trajectory())]
    assert space.from_jsonable(json.loads(json.dumps(space.to_jsonable(samples)))) == samples


def test_the_trajectory_space_holds_tuples_of_trajectories_only() -> None:
    space = TrajectorySpace()
    assert () in space
    assert (make_trajectory(),) in space
    assert space.sample() in space
    assert [make_trajectory()] not in space
    assert ("trajectory",) not in space


@pytest.mark.parametrize("space", [TextSpace(), PromptSpace(), TrajectorySpace()])
def test_gymnasium_can_batch_the_spaces(space: TextSpace | TrajectorySpace) -> None:
    assert not space.is_np_flattenable
    assert len(batch_space(space, 3).spaces) == 3


@pytest.mark.parametrize("space", [TextSpace(9), PromptSpace(9), TrajectorySpace()])
def test_the_repr_names_the_space(space: TextSpace | TrajectorySpace) -> None:
    assert repr(space).startswith(type(space).__name__)


@pytest.mark.parametrize(
    ("prompt", "problem"),
    [
        (None, "expected a str, got NoneType"),
        (b"go", "expected a str, got bytes"),
        ("x" * 11, "expected at most 10 characters, got 11"),
        ("ab\udfff", "got a lone surrogate at position 2"),
    ],
)
def test_an_invalid_prompt_is_refused_with_the_reason_and_the_remedy(prompt: object, problem: str) -> None:
    with pytest.raises(InvalidPromptError, match=problem) as raised:
        PromptSpace(10).check(prompt)
    assert "Pass a str of at most 10 characters." in str(raised.value)


def test_the_empty_prompt_is_a_prompt() -> None:
    assert PromptSpace().check("") == ""


def test_a_length_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"max_length must be at least 1, got 0"):
        TextSpace(0)
