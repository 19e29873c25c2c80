"""The user's part of a traceback: which line of your own code an error came from, in any process."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metagym.actor import ChatActor, FunctionActor
from metagym.errors import EpisodesFailedError, UserTrace, in_words, keep_trace, user_trace, with_place
from metagym.testing import FakeChatModel
from tests.conftest import FailingEnv, MakeGates, gates_of, run_python

HERE = str(Path(__file__).relative_to(Path.cwd())) if Path(__file__).is_relative_to(Path.cwd()) else __file__


def raised(function: Any, *arguments: Any) -> BaseException:
    with pytest.raises(BaseException) as caught:
        function(*arguments)
    return caught.value


def line_of(text: str) -> int:
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    return 1 + next(number for number, line in enumerate(lines) if line.strip() == text)


def test_the_place_is_the_last_line_of_the_users_own_code() -> None:
    def own() -> None:
        np.zeros(3).reshape(7, 7)

    error = raised(own)
    trace = user_trace(error)
    assert trace.place == f"{HERE}:{line_of('np.zeros(3).reshape(7, 7)')}"
    assert "cannot reshape" in trace.text
    assert trace.text.startswith("Traceback")
    assert with_place(error) == f"ValueError: {error} ({trace.place})"


def test_an_error_from_a_package_alone_has_no_place() -> None:
    error = raised(json.loads, "{")
    error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next  # without the line of this test
    while error.__traceback__ is not None and "tests" in error.__traceback__.tb_frame.f_code.co_filename:
        error.__traceback__ = error.__traceback__.tb_next
    assert user_trace(error) == UserTrace()
    assert with_place(error) == in_words(error)


def test_the_cause_is_part_of_the_trace() -> None:
    def own() -> None:
        try:
            {}["key"]
        except KeyError as error:
            raise ValueError("no entry") from error

    trace = user_trace(raised(own))
    raising = 'raise ValueError("no entry") from error'
    assert trace.place == f"{HERE}:{line_of(raising)}"
    assert "KeyError: 'key'" in trace.text


def test_a_trace_of_any_length_is_kept_short() -> None:
    def deeper(level: int) -> None:
        deeper(level + 1) if level < 300 else json.loads("x" * 10)

    def long() -> None:
        raise ValueError("x" * 100_000)

    assert "Previous line repeated" in user_trace(raised(deeper, 0)).text
    assert len(user_trace(raised(long)).text) < 13_000


class WordlessError(Exception):
    """An error whose message cannot be made."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_an_error_without_words_has_a_name() -> None:
    assert in_words(WordlessError()) == "WordlessError: its message cannot be shown"


def test_a_kept_trace_survives_pickling_and_wins() -> None:
    error = ValueError("x")
    keep_trace(error, UserTrace("game.py:1", "text"))
    assert user_trace(pickle.loads(pickle.dumps(error))) == UserTrace("game.py:1", "text")


def test_an_error_in_a_circle_ends() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert user_trace(one) == UserTrace()


@dataclasses.dataclass(frozen=True)
class Point:
    """A place that cannot be changed."""

    x: int


@dataclasses.dataclass(frozen=True)
class FrozenError(Exception):
    """An error whose traceback `contextlib` cannot set."""

    code: int


class AskingError(Exception):
    """An error that hands all attributes on to another one, which it does not have yet."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def test_the_place_is_in_a_file_and_not_in_code_that_a_library_made() -> None:
    def own() -> None:
        Point(1).x = 2  # type: ignore[misc]

    assert user_trace(raised(own)).place == f"{HERE}:{line_of('Point(1).x = 2  # type: ignore[misc]')}"
    assert user_trace(raised(eval, "1 / 0")).place.startswith(HERE)


def test_an_error_that_a_context_cannot_pass_on_is_the_error() -> None:
    @contextlib.contextmanager
    def context() -> Any:
        yield

    def own() -> None:
        with context():
            raise FrozenError(7)

    error = raised(own)
    assert with_place(error) == f"FrozenError: 7 ({HERE}:{line_of('raise FrozenError(7)')})"


def test_an_error_that_looks_up_attributes_without_an_end_is_described() -> None:
    def own() -> None:
        raise AskingError("boom")

    error, raising = raised(own), 'raise AskingError("boom")'
    assert with_place(error) == f"AskingError: boom ({HERE}:{line_of(raising)})"
    assert "AskingError: boom" in user_trace(error).text
    keep_trace(error, UserTrace("game.py:1", "text"))
    assert user_trace(error).place == "game.py:1"


def test_a_group_names_its_first_error() -> None:
    group = ExceptionGroup("unhandled", [ExceptionGroup("inner", [LookupError("the real one")]), OSError("other")])
    said = (
        "ExceptionGroup: unhandled (2 sub-exceptions): ExceptionGroup: inner (1 sub-exception): LookupError: the real"
    )
    assert in_words(group).startswith(said)


# In records and messages -----------------------------------------------------------------------------------


def failed(make_gates: MakeGates, actor: Any = "demo", **options: Any) -> EpisodesFailedError:
    env = make_gates(actor, episodes_per_step=2, **options)
    env.reset(seed=0)
    with pytest.raises(EpisodesFailedError) as caught:
        env.step("Walk.")
    return caught.value


def broken_actor(episode: Any, steps: Any, observation: Any) -> str:
    raise LookupError("my actor's own defect")


class BrokenModel(FakeChatModel):
    """A chat model of the user's own."""

    async def complete(self, messages: Any, call: Any) -> Any:
        raise LookupError("my model's own defect")


async def cancelled_actor(episode: Any, steps: Any, observation: Any) -> str:
    inner = asyncio.create_task(asyncio.sleep(60))
    inner.cancel()
    await inner
    return "push"


def test_an_actor_whose_own_task_was_cancelled_fails_its_episode(make_gates: MakeGates) -> None:
    error = failed(make_gates, FunctionActor(cancelled_actor))
    assert error.meta_step is not None
    assert re.fullmatch(r"CancelledError:  \(.*:\d+\)", error.meta_step.trajectories[0].error)


def broken_score(env: Any, trajectory: Any) -> float:
    raise LookupError("my score's own defect")


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("actor", 'raise LookupError("my actor\'s own defect")'),
        ("model", 'raise LookupError("my model\'s own defect")'),
        ("score", 'raise LookupError("my score\'s own defect")'),
        ("environment", 'raise OSError("the road is closed")'),
        ("nothing", ""),
    ],
)
def test_the_record_the_message_and_the_notes_hold_the_users_line(make_gates: MakeGates, kind: str, line: str) -> None:
    if kind == "actor":
        error = failed(make_gates, FunctionActor(broken_actor))
    elif kind == "model":
        error = failed(make_gates, ChatActor(BrokenModel([])))
    elif kind == "score":
        cls = type("Scored", (gates_of(lambda env: env),), {"score": broken_score})
        error = failed(make_gates, cls=cls)
    elif kind == "environment":
        error = failed(make_gates, cls=gates_of(lambda env: FailingEnv(env, lambda task: True)))
    else:
        error = failed(make_gates, FunctionActor(lambda *arguments: 7))
    assert error.meta_step is not None
    first = error.meta_step.trajectories[0]
    if kind == "nothing":
        assert "Expected an actor to return an Action, got int: 7" in first.error
        assert first.traceback == ""
        return
    assert line in first.traceback
    assert f".py:{1 + next(i for i, own in enumerate(source(kind)) if own.strip() == line)})" in first.error
    assert first.error in str(error)
    assert first.traceback in error.__notes__[0]


def source(kind: str) -> list[str]:
    file = Path(__file__).with_name("conftest.py") if kind == "environment" else Path(__file__)
    return file.read_text(encoding="utf-8").splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("debug", [False, True])
def test_the_command_line_names_the_line_and_with_debug_prints_the_traceback(tmp_path: Path, debug: bool) -> None:
    (tmp_path / "my_game.py").write_text(
        "def act(episode, steps, observation):\n    return 1 / 0\n\ndef reflect(history):\n    return [][1]\n"
    )
    code = "import sys; from metagym.cli import main; sys.argv[:] = ['metagym', *sys.argv[1:]]; main()"
    options = ["run", "MetaGym/Gates-v0", "-n", "1", "-o", "run", *(["--debug"] if debug else [])]
    done = run_python(code, *options, "--actor", "my_game:act", "--reflector", "fixed", cwd=tmp_path)
    assert done.returncode == 1
    assert "ZeroDivisionError: division by zero (my_game.py:2)" in " ".join(done.stderr.split())
    assert ("return 1 / 0" in done.stderr) is debug
    done = run_python(code, *options[:3], "1", "--actor", "random", "--reflector", "my_game:reflect", cwd=tmp_path)
    assert "Unexpected IndexError: list index out of range (my_game.py:5)" in " ".join(done.stderr.split())
