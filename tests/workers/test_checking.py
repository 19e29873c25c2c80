"""Types from an environment: what Gymnasium says is taken, anything else is an error that names it, in any process."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Any

import gymnasium
import numpy as np
import pytest

from metagym import background
from metagym.errors import InnerEnvError
from metagym.rollout import RolloutConfig, RolloutEngine
from metagym.spaces import TextSpace
from metagym.testing import ScriptedActor
from metagym.types import Episode, Task, Trajectory
from metagym.workers import LocalWorkers, ProcessWorkers, Workers
from metagym.workers.local import frame_of_reset, frame_of_step


class Answer(enum.StrEnum):
    """A text of the environment's own class."""

    NORTH = "north"


class Endless:
    """A number that cannot be read or shown."""

    def __float__(self) -> float:
        raise RuntimeError("no number")

    def __repr__(self) -> str:
        raise RuntimeError("no words")


def changed(**fields: Any) -> tuple[Any, ...]:
    names = ("text", "reward", "terminated", "truncated", "info")
    return tuple(
        {"text": "a", "reward": 1.0, "terminated": True, "truncated": False, "info": {}, **fields}[n] for n in names
    )


ODD: dict[str, tuple[Any, str]] = {
    "bytes": (changed(text=b"a"), "an observation .* to be a str, got b'a' .bytes.. Wrap .*TextAdapter"),
    "array": (changed(text=np.zeros(2)), "an observation .* to be a str"),
    "no observation": (changed(text=None), "an observation .* to be a str, got None"),
    "reward in words": (changed(reward="1.0"), "a reward .* to be a finite number, got '1.0' .str."),
    "no reward": (changed(reward=None), "a reward .* to be a finite number, got None"),
    "nan": (changed(reward=float("nan")), "a reward .* to be a finite number, got nan"),
    "infinite": (changed(reward=float("inf")), "a reward .* to be a finite number, got inf"),
    "complex": (changed(reward=1j), "a reward .* to be a finite number"),
    "two rewards": (changed(reward=np.ones(2)), "a reward .* to be a finite number"),
    "a number that fails": (changed(reward=Endless()), "a reward .* got a value that cannot be shown .Endless."),
    "success in words": (changed(info={"success": "False"}), r"info\['success'\] .* to be True or False, got 'False'"),
    "progress in percent": (
        changed(info={"progress": 50}),
        r"info\['progress'\] .* to be a number from 0 to 1, got 50",
    ),
    "success as a number": (changed(info={"success": 0.0}), r"info\['success'\] .* Wrap the condition in bool"),
    "end in words": (changed(terminated="no"), "terminated .* to be True or False, got 'no'"),
    "end as a number": (changed(truncated=0), "truncated .* to be True or False, got 0 .int."),
    "info that is a list": (changed(info=[("goal", "x")]), "info .* to be a dict"),
    "no info": (changed(info=None), "info .* to be a dict, got None"),
    "goal": (changed(info={"goal": 7}), r"info\['goal'\] .* to be a str, got 7"),
    "outcome": (changed(info={"outcome": 7}), r"info\['outcome'\] .* to be a str, got 7"),
    "one text of actions": (
        changed(info={"available_actions": "north"}),
        r"info\['available_actions'\] .* tuple of str",
    ),
    "set of actions": (changed(info={"available_actions": {"a"}}), r"info\['available_actions'\] .* got {'a'} .set."),
    "numbers as actions": (
        changed(info={"available_actions": (0, 1)}),
        r"each of info\['available_actions'\] .* got 0",
    ),
    "events": (changed(info={"events": [b"x"]}), r"each of info\['events'\] .* got b'x'"),
    "four values": (("a", 1.0, True, {}), r"step .* to return \(observation, reward, terminated, truncated, info\)"),
    "an object": (changed(text=object()), "an observation .* got <object object> .object."),
    "no tuple": ("a", "step .* to return"),
}


@pytest.mark.parametrize("name", ODD)
def test_a_value_of_another_type_is_an_error_that_names_it(name: str) -> None:
    result, problem = ODD[name]
    with pytest.raises(InnerEnvError, match=f"(?s)^Expected {problem}"):
        frame_of_step(result)


@pytest.mark.parametrize("result", ["text", ("text",), ("text", {}, {}), (1, {}), ("text", None)])
def test_a_reset_of_another_shape_is_an_error(result: Any) -> None:
    with pytest.raises(InnerEnvError, match="Expected"):
        frame_of_reset(result)


@pytest.mark.parametrize(
    ("reward", "number"), [(1, 1.0), (True, 1.0), (np.float32(0.5), 0.5), (np.array(2), 2.0), (Fraction(1, 4), 0.25)]
)
def test_any_number_is_a_reward(reward: Any, number: float) -> None:
    assert frame_of_step(changed(reward=reward)).reward == number


def test_values_of_subclasses_become_plain_ones_and_unknown_keys_are_dropped() -> None:
    info = {
        "goal": Answer.NORTH,
        "available_actions": [Answer.NORTH, np.str_("south")],
        "success": np.bool_(False),
        "progress": np.float32(0.5),
        "events": iter(["a"]),
        "outcome": None,
        "display": {"hp": np.int64(3)},
        "secret": object(),
    }
    frame = frame_of_step(changed(text=np.str_("a\ud800"), terminated=np.bool_(True), info=info))
    assert frame[:4] == ("a\ufffd", 1.0, True, False)
    assert frame.info == {
        "goal": "north",
        "available_actions": ("north", "south"),
        "success": False,
        "progress": 0.5,
        "events": ("a",),
        "display": {"hp": 3},
    }
    assert {type(frame.text), type(frame.info["goal"]), type(frame.info["available_actions"][1])} == {str}


class Failing(Mapping[str, Any]):
    """A mapping of the environment's own that fails."""

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError("no entry")

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


class ExitError(Exception):
    """An error whose words end the program."""

    def __str__(self) -> str:
        raise SystemExit(3)

    __repr__ = __str__


class AskingError(Exception):
    """An error that hands all attributes on to another one, which it does not have yet."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def failing() -> Iterator[str]:
    yield "a"
    raise LookupError("in the middle")


def raising(error: Exception) -> Any:
    raise error


def tool(**fields: Any) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {"name": "go", "parameters": {"type": "object", "properties": {}}},
        **fields,
    }


FAILING: dict[str, tuple[Callable[[], Any], str]] = {
    "a mapping that fails": (lambda: changed(info=Failing()), "result of .* cannot be read: RuntimeError: no entry"),
    "an iterator that fails": (
        lambda: changed(info={"events": failing()}),
        "result of .* cannot be read: LookupError: in the middle",
    ),
    "words that exit": (lambda: raising(ExitError()), "ExitError: its message cannot be shown"),
    "a value whose words exit": (lambda: changed(text=ExitError()), "got a value that cannot be shown"),
    "attributes without an end": (lambda: raising(AskingError("boom")), "AskingError: boom"),
    "many errors": (
        lambda: raising(ExceptionGroup("two", [OSError("closed"), KeyError("k")])),
        r"ExceptionGroup: two \(2 sub-exceptions\): OSError: closed",
    ),
    "a tool with a function": (lambda: changed(info={"tools": (tool(strict=len, x=lambda: 0),)}), "a schema in JSON"),
    "tools of a generator": (lambda: changed(info={"tools": (tool() for _ in "a")}), "a tuple of schemas, got <gen"),
    "texts of another class in a tool": (lambda: changed(info={"tools": (tool(note=Answer.NORTH),)}), ""),
}


class OddEnv(gymnasium.Env[str, str]):
    """Answers a command with the value of that name."""

    observation_space = action_space = TextSpace()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Begin."""
        return "begin", {"display": {1: (np.int8(1),)}, "goal": Answer.NORTH}

    def step(self, action: str) -> Any:
        """Answer."""
        return FAILING[action][0]() if action in FAILING else ODD[action][0]


def play(workers: Workers) -> list[Trajectory]:
    episode = Episode(prompt="p", task=Task(id="t/0", family="t", split="train", seed=0), seed=0)
    records = []
    for name in (*ODD, *FAILING):
        engine = RolloutEngine(ScriptedActor([name]), workers, config=RolloutConfig(max_steps=3, attempts=1))
        records += background.run(engine.run([episode]))
    return records


def test_the_records_are_the_same_in_this_process_and_in_another() -> None:
    away = ProcessWorkers(OddEnv, 1)
    records = play(LocalWorkers(OddEnv))
    assert play(away) == records
    away.close()
    for record in records[: len(ODD)]:
        assert record.error.startswith("InnerEnvError: Expected ")
    for record, (name, (_, problem)) in zip(records[len(ODD) :], FAILING.items(), strict=True):
        assert re.search(problem, record.error), name
        assert record.error.startswith("InnerEnvError: ") or not problem
