"""A meta-episode served by OpenEnv, over its own server and client."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

pytest.importorskip("openenv", reason="needs pip install openenv")

from openenv.core.generic_client import GenericEnvClient

from metagym.bridges.openenv import make_app
from tests.bridges.meta_episodes import OPTIONS, REPLIES, meta_loop_rewards
from tests.conftest import SRC

pytestmark = [pytest.mark.bridge, pytest.mark.filterwarnings("default")]  # those of the server and its client

SERVE = f"""
import sys, uvicorn
from metagym.bridges.openenv import make_app
app = make_app("MetaGym/Gates-v0", {OPTIONS!r}, max_concurrent_envs=4)
uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(SRC.parent)}
    server = subprocess.Popen([sys.executable, "-c", SERVE, str(port)], env=environment)
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                break
            except OSError:
                assert server.poll() is None
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def test_a_client_of_openenv_plays_it_with_the_numbers_of_the_meta_loop(address: str) -> None:
    with GenericEnvClient(base_url=address).sync() as client:
        first = client.reset(split="train", index=3)
        assert [message["role"] for message in first.observation["messages"]] == ["system", "user"]
        results = [client.step({"reply": reply}) for reply in REPLIES]
    assert [result.done for result in results] == [False, False, True]
    expected = [score / 3 for score in meta_loop_rewards(3)]
    assert [result.reward for result in results] == expected
    assert results[-1].observation["rewards"] == expected
    assert results[1].observation["problem"]


def test_sessions_do_not_disturb_each_other(address: str) -> None:
    with GenericEnvClient(base_url=address).sync() as one, GenericEnvClient(base_url=address).sync() as other:
        one.reset(split="train", index=3)
        other.reset(split="train", index=4)
        found = [[client.step({"reply": reply}).reward for reply in REPLIES] for client in (one, other)]
    assert found == [[score / 3 for score in meta_loop_rewards(seed)] for seed in (3, 4)]


def test_the_validation_of_openenv_passes(address: str) -> None:
    command = [str(Path(sys.executable).with_name("openenv")), "validate", "--url", address]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "Verdict: PASS" in found.stdout


def test_an_index_is_needed() -> None:
    from metagym.bridges.openenv import ServedMetaEpisode
    from metagym.errors import ConfigError
    from metagym.training.meta_episode_env import MetaEpisodeConfig

    assert make_app("MetaGym/Gates-v0", OPTIONS)
    served = ServedMetaEpisode("MetaGym/Gates-v0", OPTIONS, MetaEpisodeConfig())
    with pytest.raises(ConfigError, match=r"Expected reset\(split='train', index=N\), got split='train', index=None"):
        served.reset()
    assert served.list_splits() == ["train"]
    assert served.get_task("train", 7) == {"id": "train-7", "index": 7}
    with pytest.raises(IndexError):
        served.get_task("train", -1)
    served.close()
