"""A recorded experiment replays byte for byte: in another process, with no key and the network off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metagym.errors import EpisodesFailedError
from metagym.models import Cassette
from metagym.runs import Manifest
from metagym.runs.running import run_experiment
from metagym.testing import ServerRequest
from tests.conftest import Serve, run_python
from tests.test_spending_limits import respond

REPLAY = """
import json, socket, sys

def refuse(*args, **kwargs):
    raise OSError("the network is off")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
from metagym.runs.running import run_experiment
from metagym.models import Cassette
from metagym.runs import Manifest

source, target, spec = sys.argv[1:]
cassette = Cassette(source, mode="replay")
with cassette.open():
    run_experiment(Manifest.model_validate_json(spec), target)
cassette.close()
"""


def play_room(request: ServerRequest) -> str:
    """Walk where the seed says; the reflector writes a new rule each time."""
    seed = request.body["seed"]
    if "IMPROVED PROMPT" in request.messages[0]["content"]:
        return f"ANALYSIS: I think.\nIMPROVED PROMPT: Rule {seed}: go on."
    moves = request.messages[-1]["content"].rpartition("Available actions: ")[2].split(", ")
    return f"Thought: let me try.\nAction: {moves[seed % len(moves)]}"


def manifest(env_id: str, model: dict[str, Any], **options: Any) -> Manifest:
    options = {"actor": model, "episodes_per_step": 3, **options}
    return Manifest(env_id=env_id, env_options=options, reflector=model, seed=11, num_steps=5)


@pytest.mark.parametrize(
    ("env_id", "play", "options"),
    [
        ("MetaGym/Gates-v0", respond, {}),
        pytest.param("MetaGym/MiniHack-v0", play_room, {"max_steps": 12}, marks=pytest.mark.minihack),
    ],
)
def test_five_meta_steps_replay_byte_for_byte_in_another_process_with_the_network_off(
    env_id: str, play: Any, options: dict[str, Any], serve: Serve, tmp_path: Path
) -> None:
    if env_id == "MetaGym/MiniHack-v0":
        pytest.importorskip("nle")
    server = serve(play)
    model = {"model": "m", "base_url": server.base_url}
    recorded = run_experiment(manifest(env_id, model, **options), tmp_path / "recorded")
    assert len(recorded.history) == 5
    assert len({meta_step.prompt for meta_step in recorded.history}) == 5
    num_calls = len(server.requests)
    # Another server, another concurrency; no key is there at all.
    offline = {"model": "m", "base_url": server.base_url, "client": {"offline": True}}
    spec = manifest(env_id, offline, max_concurrency=1, **options).model_dump_json()
    done = run_python(REPLAY, str(tmp_path / "recorded" / "replies.sqlite"), str(tmp_path / "again"), spec)
    assert done.returncode == 0, done.stderr
    first, second = ((tmp_path / name / "log.jsonl").read_bytes() for name in ("recorded", "again"))
    # Episodes of a batch are written as they finish, so the lines' order is not part of the promise.
    assert sorted(first.splitlines()) == sorted(second.splitlines())
    assert len(server.requests) == num_calls
    assert not (tmp_path / "again" / "calls.jsonl").exists()  # nothing was paid


def test_a_replay_that_leaves_the_record_stops_and_says_where(serve: Serve, tmp_path: Path) -> None:
    server = serve(respond)
    model = {"model": "m", "base_url": server.base_url}
    run_experiment(manifest("MetaGym/Gates-v0", model), tmp_path / "recorded")
    cassette = Cassette(tmp_path / "recorded" / "replies.sqlite", mode="replay")
    changed = manifest("MetaGym/Gates-v0", model).model_copy(update={"first_prompt": "Another one."})
    with (
        cassette.open(),
        pytest.raises(EpisodesFailedError, match=r"message 0 \(system\) at character 0: was .*, is 'Another one"),
    ):
        run_experiment(changed, tmp_path / "again")
    cassette.close()
