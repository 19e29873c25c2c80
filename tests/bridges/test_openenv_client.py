"""Environments that OpenEnv serves, as inner environments: over its own server and client."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openenv", reason="needs pip install openenv")

from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import Action, Observation, State

from metagym.actor import FunctionActor
from metagym.bridges.openenv_client import OpenEnvMetaEnv
from metagym.errors import ConfigError
from metagym.testing import check_text_env
from tests.conftest import ROOT, SRC

pytestmark = [pytest.mark.bridge, pytest.mark.filterwarnings("default")]  # those of the server and its client
SERVE = """
import sys, uvicorn
from openenv.core.env_server.http_server import create_fastapi_app
from tests.bridges import test_openenv_client as served
environment = getattr(served, sys.argv[2])
app = create_fastapi_app(environment, served.Guess, served.Hint, max_concurrent_envs=8, env_name="guess")
uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")
"""


class Guess(Action):
    message: str


class Hint(Observation):
    shown: str


class SeededGuess(Environment[Guess, Hint, State]):
    """Hides a number; the seed decides which one, and the first text does not show it."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        super().__init__()
        self._number = 0

    def reset(self, seed: int | None = None, episode_id: str | None = None, **_: Any) -> Hint:
        self._number = random.Random(seed).randrange(10**6)
        return Hint(shown="Guess the number.")

    def step(self, action: Guess, timeout_s: float | None = None, **_: Any) -> Hint:
        if not action.message.isdigit():
            return Hint(shown=f"A number, please. Its remainder by 1000 is {self._number % 1000}.", reward=0.0)
        won = int(action.message) % 1000 == self._number % 1000
        return Hint(shown="Yes." if won else "No.", reward=float(won), done=True)

    @property
    def state(self) -> State:
        return State(step_count=0)


class UnseededGuess(SeededGuess):
    """Takes a seed and ignores it."""

    def reset(self, seed: int | None = None, episode_id: str | None = None, **_: Any) -> Hint:
        return super().reset()


class ListedGuess(SeededGuess):
    """Has the Task API."""

    def reset(self, split: str = "train", index: int = 0, **_: Any) -> Hint:
        return super().reset(seed=index + 1000 * (split == "test"))

    def list_splits(self) -> list[str]:
        return ["train", "test"]

    def num_tasks(self, split: str) -> int:
        return {"train": 6, "test": 3}[split]

    def get_task(self, split: str, index: int) -> dict[str, Any]:
        return {"id": f"{split}-{index}", "index": index, "split": split}


@pytest.fixture(scope="module")
def serve() -> Iterator[Any]:
    servers = list[subprocess.Popen[bytes]]()

    def start(environment: type) -> str:
        with closing(socket.socket()) as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        path = os.pathsep.join(map(str, (SRC.parent, Path(ROOT))))
        command = [sys.executable, "-c", SERVE, str(port), environment.__name__]
        servers.append(subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}))
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                break
            except OSError:
                assert servers[-1].poll() is None
                time.sleep(0.1)
        return f"http://127.0.0.1:{port}"

    yield start
    for server in servers:
        server.kill()
        server.wait()


@pytest.fixture(scope="module")
def seeded(serve: Any) -> str:
    return serve(SeededGuess)


def guess(episode: Any, steps: Any, observation: Any) -> str:
    """Ask, then guess the number in the reply."""
    return observation.text.split()[-1].rstrip(".") if steps else "please"


def test_seeds_are_tasks_whose_start_and_reply_to_a_probe_decide_the_role(seeded: str) -> None:
    with OpenEnvMetaEnv(FunctionActor(guess), base_url=seeded, num_tasks=30, episodes_per_step=3) as env:
        env.reset(seed=0)
        trajectories, reward, *_ = env.step("Guess.")
        assert (reward, [len(item.steps) for item in trajectories]) == (1.0, [2, 2, 2])
        tasks = env.task_set
        assert {tasks.find(f"guess/{seed}").split for seed in range(30)} == {"train", "validation", "test"}
        assert env.inner_fingerprint()["seeds"] == "kept"


def test_a_session_keeps_the_contract_of_an_inner_environment(seeded: str) -> None:
    with OpenEnvMetaEnv("random", base_url=seeded, num_tasks=4) as env, closing(env.make_inner_env()) as inner:
        check_text_env(inner, options={"task_id": "guess/3"})


def test_a_server_that_ignores_seeds_is_refused_or_marked(serve: Any) -> None:
    address = serve(UnseededGuess)
    with pytest.raises(ConfigError, match=r"keeps seeds and indexes .* the task 'guess/0' started in two ways"):
        OpenEnvMetaEnv("random", base_url=address, num_tasks=4)
    with OpenEnvMetaEnv("random", base_url=address, num_tasks=4, need_seeds=False) as env:
        assert env.inner_fingerprint()["seeds"] == "dropped"


def test_tasks_that_start_alike_are_refused(seeded: str) -> None:
    with pytest.raises(ConfigError, match="4 tasks started alike"):
        OpenEnvMetaEnv("random", base_url=seeded, num_tasks=4, probe="1234567")


def test_the_splits_of_the_task_api_are_the_roles(serve: Any) -> None:
    with OpenEnvMetaEnv(FunctionActor(guess), base_url=serve(ListedGuess), episodes_per_step=3, split="test") as env:
        roles = [env.task_set.find(f"guess/{split}/2").split for split in ("train", "test")]
        assert roles == ["train", "test"]
        env.reset(seed=0)
        trajectories, reward, *_ = env.step("Guess.")
        assert (reward, {item.task.source for item in trajectories}) == (1.0, {"test"})
