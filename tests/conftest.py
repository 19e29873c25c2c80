"""Small real things that the tests share: builders of records, environments that misbehave, fixtures."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from hypothesis import settings

import metagym
from metagym.envs.gates.env import GatesEnv
from metagym.envs.gates.meta import GatesMetaEnv
from metagym.spaces import TextSpace
from metagym.testing import FakeOpenAIServer, ServerReply, ServerRequest
from metagym.types import (
    Action,
    Completion,
    Episode,
    MetaStep,
    Observation,
    Step,
    StopReason,
    Task,
    Trajectory,
)

# Equal examples in each run, and no test that asserts a time.
settings.register_profile("metagym", deadline=None, derandomize=True)
settings.load_profile("metagym")

# A shell's background job starts with Ctrl-C ignored, and Python then installs no handler: the tests of
# Ctrl-C, and the processes that they start, need one. (Where Ray imports this, it is on another thread.)
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

SRC = Path(metagym.__file__).parent
ROOT = Path(__file__).parents[1]


LOCAL_MODEL = os.environ.get("METAGYM_LOCAL_MODEL", "")
"""A real model file for the slow tests of `local`; without it they skip."""


@pytest.fixture(autouse=True)
def no_model_named(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test depends on the keys and models of the machine that it runs on."""
    for name in ("METAGYM_MODEL", "METAGYM_LOCAL_MODEL", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("METAGYM_CACHE", str(tmp_path_factory.getbasetemp() / "no-cache"))


# Records ----------------------------------------------------------------------------------------------


def make_task(task_id: str = "law-0000/1", **fields: Any) -> Task:
    return Task(**{"id": task_id, "family": "law-0000", "split": "train", "seed": 1, **fields})


def make_episode(prompt: str = "Be brave.", task: Task | None = None, **fields: Any) -> Episode:
    return Episode(**{"prompt": prompt, "task": task or make_task(), "seed": 0, **fields})


def make_step(
    text: str = "You see a door.", action: str | None = "open", *, reward: float = 0.0, **observation: Any
) -> Step:
    return Step(
        observation=Observation(text=text, **observation),
        action=Action(text=action),
        command=action,
        is_valid=action is not None,
        reward=reward,
    )


def make_trajectory(steps: Sequence[Step] = (), **fields: Any) -> Trajectory:
    return Trajectory(
        **{
            "episode": make_episode(),
            "steps": tuple(steps),
            "final_observation": Observation(text="It is over."),
            "stop_reason": StopReason.TERMINATED,
            "success": True,
            "score": 1.0,
            **fields,
        }
    )


def make_meta_step(trajectories: Sequence[Trajectory] = (), **fields: Any) -> MetaStep:
    return MetaStep(**{"index": 0, "prompt": "Be brave.", "trajectories": tuple(trajectories), "reward": 1.0, **fields})


def reply(text: str, **fields: Any) -> Completion:
    return Completion(text=text, **fields)


# Environments -----------------------------------------------------------------------------------------


class CorridorEnv(gymnasium.Env[str, str]):
    """A corridor of `seed % 7 + 2` fields: `east` goes on, `west` back, the last field is the goal.

    `info_of(field)` gives more info; `limit` truncates; `broken` raises in reset or step.
    """

    metadata = {"render_modes": [], "render_fps": 1}

    def __init__(
        self,
        *,
        actions: tuple[str, ...] | None = ("east", "west"),
        limit: int = 1_000,
        report_success: bool = True,
        info: Mapping[str, Any] | None = None,
        broken: Callable[[str], None] = lambda where: None,
    ) -> None:
        self.observation_space, self.action_space = TextSpace(), TextSpace()
        self._actions, self._limit, self._report = actions, limit, report_success
        self._extra, self._broken = dict(info or {}), broken
        self.commands: list[str] = []
        self.closed = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self._broken("reset")
        self._length = (int(self.np_random.integers(7)) if seed is None else seed % 7) + 2
        self._field, self._turns = 1, 0
        self.commands = []
        return self._text(), self._info()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self._broken(f"step {action}")
        self.commands.append(action)
        self._turns += 1
        if action not in ("east", "west"):
            return f"Nothing happens. {self._text()}", 0.0, False, self._turns >= self._limit, self._info()
        self._field = max(1, self._field + (1 if action == "east" else -1))
        at_goal = self._field == self._length
        return self._text(), float(at_goal), at_goal, self._turns >= self._limit, self._info()

    def close(self) -> None:
        self.closed += 1

    def _text(self) -> str:
        return f"Field {self._field} of {self._length}."

    def _info(self) -> dict[str, Any]:
        info: dict[str, Any] = {"goal": "Go to the last field.", **self._extra}
        if self._actions is not None:
            info["available_actions"] = self._actions
        if self._report:
            info["success"] = self._field == self._length
        return info


class GatesOf(GatesMetaEnv):
    """Gates, with an inner environment of one's own: it gets a GatesEnv and wraps or replaces it."""

    wrap: Callable[[GatesEnv], gymnasium.Env[str, str]] = staticmethod(lambda env: env)

    def make_inner_env(self) -> Any:
        return type(self).wrap(GatesEnv())


def gates_of(wrap: Callable[[GatesEnv], gymnasium.Env[str, str]]) -> type[GatesMetaEnv]:
    """Return a Gates class whose inner environments go through `wrap`."""
    return type("WrappedGates", (GatesOf,), {"wrap": staticmethod(wrap)})


class FailingEnv(gymnasium.Wrapper[str, str, str, str]):
    """Raises in `reset` for the task ids that `fails` names."""

    def __init__(self, env: GatesEnv, fails: Callable[[str], bool]) -> None:
        super().__init__(env)
        self._fails = fails

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        if self._fails((options or {}).get("task_id", "")):
            raise OSError("the road is closed")
        return self.env.reset(seed=seed, options=options)


# Fixtures ---------------------------------------------------------------------------------------------

MakeGates = Callable[..., GatesMetaEnv]


@pytest.fixture
def make_gates() -> Iterator[MakeGates]:
    """Make Gates meta-environments that are closed after the test."""
    with ExitStack() as stack:

        def make(actor: Any = "demo", *, cls: type[GatesMetaEnv] = GatesMetaEnv, **options: Any) -> GatesMetaEnv:
            env = cls(actor, **options)
            stack.callback(env.close)
            return env

        yield make


Serve = Callable[[Callable[[ServerRequest], str | ServerReply] | str | ServerReply], FakeOpenAIServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers that answer with a text, a reply, or what a function of the request says."""
    with ExitStack() as stack:

        def start(respond: Callable[[ServerRequest], str | ServerReply] | str | ServerReply) -> FakeOpenAIServer:
            answer = respond if callable(respond) else lambda request: respond
            return stack.enter_context(FakeOpenAIServer(answer))

        yield start


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry without a pause."""
    monkeypatch.setattr("metagym.models.asking.random_pause_s", lambda num_tries, config: 0.0)


def run_python(
    code: str, *args: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, with this source tree."""
    return subprocess.run(
        [sys.executable, "-c", code, *args],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(SRC.parent), **(env or {})},
        check=False,
    )
