"""The exceptions: a tree, picklable, with messages that say expected, got, remedy."""

from __future__ import annotations

import inspect
import pickle

import pytest

from metagym import errors
from metagym.errors import (
    ConfigError,
    ContextOverflowError,
    EpisodesFailedError,
    InvalidPromptError,
    MetaGymError,
    ModelError,
    UnknownNameError,
)
from tests.conftest import make_meta_step, make_trajectory

ALL = [item for _, item in inspect.getmembers(errors, inspect.isclass) if issubclass(item, MetaGymError)]


@pytest.mark.parametrize("error", ALL)
def test_the_tree_in_the_docstring_names_every_exception(error: type[MetaGymError]) -> None:
    assert error.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize("error", [item for item in ALL if item is not MetaGymError])
def test_each_exception_is_also_a_builtin_one(error: type[MetaGymError]) -> None:
    builtin = (ValueError, ImportError, RuntimeError, AssertionError)
    assert issubclass(error, builtin)


@pytest.mark.parametrize("error", ALL)
def test_exceptions_are_picklable(error: type[MetaGymError]) -> None:
    again = pickle.loads(pickle.dumps(error("expected a, got b")))
    assert (type(again), str(again)) == (error, "expected a, got b")


def test_a_pickled_error_keeps_its_partial_meta_step() -> None:
    meta_step = make_meta_step([make_trajectory(score=None)])
    assert pickle.loads(pickle.dumps(EpisodesFailedError("no", meta_step))).meta_step == meta_step


def test_an_unknown_name_is_reported_with_known_and_similar_names() -> None:
    error = UnknownNameError.of("split", "trian", ("train", "test"), remedy="Look it up.")
    assert str(error) == ("Unknown split 'trian': expected one of 'train', 'test'. Did you mean 'train'? Look it up.")


def test_a_long_list_of_known_names_is_shortened() -> None:
    message = str(UnknownNameError.of("family", "zzz", [f"law-{i:04d}" for i in range(1296)]))
    assert "(1296 in all)" in message
    assert len(message) < 250


def test_an_invalid_prompt_and_an_unknown_name_are_value_errors() -> None:
    assert issubclass(InvalidPromptError, ConfigError)
    assert issubclass(UnknownNameError, ValueError)


def test_a_context_overflow_is_a_model_error() -> None:
    assert issubclass(ContextOverflowError, ModelError)
