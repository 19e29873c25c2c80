"""check_text_env: it passes environments that keep the contract, and names each breach with its remedy."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from metagym.envs.gates.env import GatesEnv
from metagym.errors import ContractError
from metagym.testing import check_text_env
from tests.conftest import CorridorEnv


def test_good_environments_pass() -> None:
    check_text_env(GatesEnv())
    check_text_env(CorridorEnv())
    check_text_env(CorridorEnv(actions=None, report_success=False, info={"display": [[1, 2], {"a": None}]}))
    check_text_env(ReportsSuccessAtTheEnd())


def test_the_environment_is_closed_twice() -> None:
    env = CorridorEnv()
    check_text_env(env)
    assert env.closed == 2


class RaisesOnUnknown(CorridorEnv):
    def step(self, action: str) -> Any:
        if action not in ("east", "west"):
            raise KeyError(action)
        return super().step(action)


class RaisesOnUnknownLater(CorridorEnv):
    def step(self, action: str) -> Any:
        if self._turns and action not in ("east", "west"):
            raise KeyError(action)
        return super().step(action)


class RaisesOnOtherLetters(CorridorEnv):
    def step(self, action: str) -> Any:
        action.encode("ascii")
        return super().step(action)


class PaysForUnknown(CorridorEnv):
    def step(self, action: str) -> Any:
        text, reward, *rest = super().step(action)
        return text, reward if action in ("east", "west") else 5.0, *rest


class RaisesInStep(CorridorEnv):
    """Has a slip in `step`, on the second turn."""

    def step(self, action: str) -> Any:
        if self._turns == 1:
            {}["lamp"]
        return super().step(action)


class RaisesInReset(CorridorEnv):
    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        raise IndexError("no such room")


class Unseeded(CorridorEnv):
    turns = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        Unseeded.turns += 1
        return super().reset(seed=(seed or 0) + Unseeded.turns, options=options)


class PaysBeforeItReportsSuccess(CorridorEnv):
    """Pays for each step, and reports success at the goal only."""

    def step(self, action: str) -> Any:
        text, _, terminated, truncated, info = super().step(action)
        kept = {name: info[name] for name in info if terminated or name != "success"}
        return text, 0.2, terminated, truncated, kept


class ReportsSuccessAtTheEnd(CorridorEnv):
    """Pays nothing before it reports success, so that an episode that is cut off has the score 0 in any case."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return super().reset(seed=seed, options=options)[0], {}

    def step(self, action: str) -> Any:
        text, reward, terminated, truncated, info = super().step(action)
        return text, reward, terminated, truncated, info if terminated else {}


class ForgetsSuccessAtTheEnd(CorridorEnv):
    def step(self, action: str) -> Any:
        *values, terminated, truncated, info = super().step(action)
        return (
            *values,
            terminated,
            truncated,
            {name: info[name] for name in info if not terminated or name != "success"},
        )


class FourTuple(CorridorEnv):
    def step(self, action: str) -> Any:
        return super().step(action)[:4]


class Answers(CorridorEnv):
    """Gives the same answer to each step."""

    def __init__(self, text: Any = "x", reward: Any = 0.0, terminated: Any = False) -> None:
        super().__init__()
        self.answer = (text, reward, terminated)

    def step(self, action: str) -> Any:
        text, reward, terminated = self.answer
        return text, reward, terminated, False, {"available_actions": ("east",)}


class KeepsItsTurns(CorridorEnv):
    """Counts all commands of all episodes: one episode changes the next."""

    turns = 0

    def step(self, action: str) -> Any:
        KeepsItsTurns.turns += 1
        return f"{self.turns}", *super().step(action)[1:]


class ClosesOnce(CorridorEnv):
    def close(self) -> None:
        super().close()
        if self.closed > 1:
            raise RuntimeError("closed already")


class OneValueFromReset(CorridorEnv):
    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return super().reset(seed=seed, options=options)[0]


class NoInfo(CorridorEnv):
    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return super().reset(seed=seed, options=options)[0], None


class ProgressAtTheEnd(CorridorEnv):
    def step(self, action: str) -> Any:
        *rest, info = super().step(action)
        return *rest, info | {"progress": 0.5}


class Bare(gymnasium.Env[str, str]):
    """Forgot its spaces."""


class NoSpace(CorridorEnv):
    def __init__(self) -> None:
        super().__init__()
        self.observation_space = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (RaisesOnUnknown(), "answer an unknown command in words, got KeyError.*Return a text that says so"),
        (RaisesOnUnknownLater(), "answer an unknown command in words, got KeyError"),
        (RaisesOnOtherLetters(), "answer an unknown command in words, got UnicodeEncodeError"),
        (PaysForUnknown(), r"an unknown command to earn nothing, got \(5.0"),
        (CorridorEnv(actions=("east", " ")), r"no blank action, got .*an agent cannot write it"),
        (
            RaisesInStep(),
            r"expected step\('(east|west)'\) to return, as step 2 of the episode, got KeyError: 'lamp' "
            r"\(tests/testing/test_text_env_checks.py:\d+\)\. The command was an available action\.",
        ),
        (
            RaisesInReset(),
            r"expected reset\(seed=0, options=None\) to start an episode, got IndexError: .*_checks.py:\d+\)",
        ),
        (Unseeded(), "equal episodes from equal seeds, got a difference at turn 0.*Draw from self.np_random"),
        (KeepsItsTurns(), "equal episodes from equal seeds, got a difference at turn 1: observation was '1'"),
        (ClosesOnce(), "the second close to raise nothing, got RuntimeError: closed already"),
        (OneValueFromReset(), r"reset to return \(observation, info\), got Field"),
        (NoInfo(), "info to be a dict, got None.*Return a dict"),
        (
            ProgressAtTheEnd(),
            r"info\['progress'\] in each info, or in no info, got it from some steps only. Return 0.0 in",
        ),
        (Bare(), r"observation_space to be a Gymnasium space, got AttributeError.*TextSpace\(\)"),
        (NoSpace(), r"observation_space to be a Gymnasium space, got None.*TextSpace\(\)"),
        (
            PaysBeforeItReportsSuccess(),
            r"info\['success'\] in each info, or in no info, got no success after step 1, with the return 0.2",
        ),
        (
            ForgetsSuccessAtTheEnd(),
            "got no success after step .*, at the end of the episode, with the return 1. Return",
        ),
        (FourTuple(), "step to return five values, got 4"),
        (Answers(text=np.zeros(2)), "an observation to be a str, got a ndarray.*TextAdapter"),
        (Answers(text="\ud800"), "an observation that UTF-8 can encode.*Replace lone surrogates"),
        (Answers(reward=float("nan")), "a finite reward, got nan"),
        (Answers(reward="much"), "a finite reward, got much"),
        (Answers(terminated=1), r"terminated to be a bool, got 1. Wrap it in bool\(\)"),
        (CorridorEnv(info={"goal": 3}), r"info\['goal'\] to be a str, got 3"),
        (CorridorEnv(actions=["east"]), r"info\['available_actions'\] to be a tuple of str"),  # type: ignore[arg-type]
        (CorridorEnv(report_success=False, info={"success": 1}), r"info\['success'\] to be a bool, got 1"),
        (CorridorEnv(info={"events": "rain"}), r"info\['events'\] to be a tuple of str, got rain"),
        (CorridorEnv(info={"outcome": 1}), r"info\['outcome'\] to be a str, got 1"),
        (CorridorEnv(info={"display": np.zeros(2)}), r"info\['display'\] to be JSON.*Turn arrays into lists"),
    ],
)
def test_a_breach_is_named_with_its_remedy(env: Any, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        check_text_env(env)


def test_the_given_task_is_played() -> None:
    asked: list[Any] = []

    class Listens(CorridorEnv):
        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            asked.append(options)
            return super().reset(seed=seed, options=options)

    check_text_env(Listens(), options={"task_id": "corridor/0"})
    assert {"task_id": "corridor/0"} in asked
