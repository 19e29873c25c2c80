"""A meta-episode as one rollout of verifiers, by its own command, against a local server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("verifiers.v1", reason="needs pip install verifiers")

from metagym.testing import FakeOpenAIServer, ServerReply, ServerRequest
from tests.bridges.meta_episodes import OPTIONS, REPLIES, meta_loop_rewards

pytestmark = [pytest.mark.bridge, pytest.mark.slow]


def respond(request: ServerRequest) -> ServerReply:
    turn = sum(message["role"] == "assistant" for message in request.body["messages"])
    return ServerReply(REPLIES[turn])


def test_its_command_plays_meta_episodes_with_the_numbers_of_the_meta_loop(tmp_path: Path) -> None:
    command = Path(sys.executable).parent / "vf-eval"
    with FakeOpenAIServer(respond) as server:
        arguments = [
            *(str(command), "metagym-verifiers", "--model", "any", "--push", "False", "--output-dir", str(tmp_path)),
            *("--client.base-url", server.base_url, "--client.api-key-var", "NO_KEY"),
            *("--env.taskset.num-episodes", "2", "--env.options", json.dumps(OPTIONS)),
            *("--env.meta-episode.num-turns", "3"),
        ]
        done = subprocess.run(arguments, env={**os.environ, "NO_KEY": "x"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = tmp_path.rglob("traces.jsonl")
    episodes = [json.loads(line) for line in file.read_text().splitlines()]
    rewards = {item["task"]["data"]["seed"]: item["traces"][0]["metrics"] for item in episodes}
    assert sorted(rewards) == [0, 1]
    for seed, metrics in rewards.items():
        assert [metrics[f"turn_{number}"] for number in range(3)] == [score / 3 for score in meta_loop_rewards(seed)]
