"""The model on this machine: one server for all that ask, which ends with them; and a real model behind it."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metagym.actor import ChatActor, make_actor
from metagym.envs.gates.meta import GatesMetaEnv
from metagym.errors import ConfigError, MissingExtraError, ModelUnavailableError
from metagym.imports import package_versions
from metagym.models import (
    Call,
    ClientConfig,
    GGUFChatModel,
    LlamaCppConfig,
    ModelServer,
    local_model,
    local_server,
    make_model,
)
from metagym.reflectors import make_reflector
from metagym.types import Completion
from tests.conftest import LOCAL_MODEL, SRC
from tests.models.gguf_files import ENGINE, write_gguf
from tests.models.test_local_server import linux, processes

MESSAGES: Any = [{"role": "user", "content": "Name a colour."}]
real = pytest.mark.skipif(
    not LOCAL_MODEL or importlib.util.find_spec("xllamacpp") is None,
    reason="needs the extra local, and METAGYM_LOCAL_MODEL=FILE.gguf",
)


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A model file, and an engine that serves it without weights."""
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "xllamacpp.py").write_text(ENGINE)
    monkeypatch.syspath_prepend(tmp_path / "engine")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "engine"))
    servers = local_model.SharedServers()
    monkeypatch.setattr(local_model, "SERVERS", servers)
    yield write_gguf(tmp_path / "tiny.gguf")
    servers.close()


async def ask(model: GGUFChatModel, seed: int = 0) -> Completion:
    return await model.complete(MESSAGES, Call("actor", seed=seed))


def test_all_that_ask_share_one_server_which_ends_with_the_last(weights: Path) -> None:
    async def play() -> None:
        first, second = (GGUFChatModel(f"local:{weights}") for _ in range(2))
        replies = await asyncio.gather(*(ask(model) for model in (first, second, first)))
        assert len({reply.text for reply in replies}) == 1
        *settings, pid = json.loads(replies[0].text)
        assert settings == [4 * 4096, 4, ["tiny"]]
        await first.aclose()
        assert json.loads((await ask(second)).text)[-1] == pid
        await second.aclose()
        assert not Path(f"/proc/{pid}").exists()
        assert json.loads((await ask(first)).text)[-1] != pid  # a closed model may ask again
        await first.aclose()

    asyncio.run(play())


def test_other_settings_are_another_server(weights: Path) -> None:
    async def play() -> None:
        model = GGUFChatModel(f"local:{weights}", server=LlamaCppConfig(slots=2, context_tokens=1000))
        assert json.loads((await ask(model)).text)[:2] == [2000, 2]
        assert model.client.max_concurrency == 2
        await model.aclose()

    asyncio.run(play())
    narrow = make_model({"model": f"local:{weights}", "client": {"max_concurrency": 1}})
    assert narrow.fingerprint["slots"] == 1


def test_a_server_that_does_not_start_shows_the_end_of_its_log_once_to_all(weights: Path) -> None:
    broken = write_gguf(weights.with_name("broken.gguf"))

    async def play() -> list[BaseException | Completion]:
        model = GGUFChatModel(f"local:{broken}")
        return await asyncio.gather(*(ask(model) for _ in range(40)), return_exceptions=True)

    errors = asyncio.run(play())
    assert all(isinstance(error, ModelUnavailableError) for error in errors)
    assert len({str(error) for error in errors}) == 1  # started once: the log's path is the same
    assert "the weights are torn" in str(errors[0])


def test_a_server_that_dies_is_named_and_started_again(weights: Path) -> None:
    quick = ClientConfig(first_pause_s=0.05, max_pause_s=0.05, max_retry_s=1)

    async def play() -> None:
        model = GGUFChatModel(f"local:{weights}", client=quick)
        pid = json.loads((await ask(model)).text)[-1]
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ModelUnavailableError, match=r"server for 'tiny', but it ended with exit code"):
            await ask(model)
        assert json.loads((await ask(model)).text)[-1] != pid
        await model.aclose()

    asyncio.run(play())


async def start_slowly(model: GGUFChatModel, num_calls: int = 1) -> tuple[list[asyncio.Task[Completion]], ModelServer]:
    """Ask the model, and return the calls and their server as soon as it loads its file."""
    calls = [asyncio.create_task(ask(model, seed)) for seed in range(num_calls)]
    while not local_model.SERVERS._servers:
        await asyncio.sleep(0.01)
    (server,) = local_model.SERVERS._servers.values()
    return calls, server


def test_a_call_that_is_cancelled_while_the_server_loads_ends_it(weights: Path) -> None:
    """As by Ctrl-C. More calls wait than the pool has threads."""

    async def play() -> None:
        async with asyncio.timeout(60):
            calls, server = await start_slowly(GGUFChatModel(f"local:{slow}"), 40)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            assert not server.is_running

    slow = write_gguf(weights.with_name("slow.gguf"))
    asyncio.run(play())


def test_a_model_that_is_closed_while_its_server_loads_ends_it_and_its_calls(weights: Path) -> None:
    async def play() -> None:
        async with asyncio.timeout(60):
            model = GGUFChatModel(f"local:{slow}")
            calls, server = await start_slowly(model, 40)
            await model.aclose()
            assert not server.is_running
            for error in await asyncio.gather(*calls, return_exceptions=True):
                assert isinstance(error, ModelUnavailableError)
                assert "it was closed while it started. Ask again to start a new one." in str(error)

    slow = write_gguf(weights.with_name("slow.gguf"))
    asyncio.run(play())


def test_a_cancelled_call_leaves_the_loading_server_to_the_others(weights: Path) -> None:
    async def play() -> None:
        async with asyncio.timeout(60):
            model = GGUFChatModel(f"local:{slow}")
            (first, second), server = await start_slowly(model, 2)
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            slow.with_name("slow.gguf.go").touch()
            assert (await second).finish_reason == "stop"
            assert server.is_running
            await model.aclose()

    slow = write_gguf(weights.with_name("slow.gguf"))
    asyncio.run(play())


def test_the_fingerprint_holds_what_decides_a_reply(weights: Path) -> None:
    model = GGUFChatModel(f"local:{weights}", sampling={"temperature": 0.5})
    digest = model.fingerprint.pop("sha256")
    assert len(digest) == 64
    assert model.fingerprint == {
        "model": "tiny",
        "engine": package_versions("xllamacpp"),
        "context_tokens": 4096,
        "slots": 4,
        "sampling": model.sampling,
    }
    assert not model.scripted


def test_a_reply_has_at_most_a_quarter_of_the_context(weights: Path) -> None:
    for sampling, expected in (({"max_tokens": 5000}, 1024), ({"max_tokens": 7}, 7), ({"max_tokens": None}, None)):
        assert GGUFChatModel(f"local:{weights}", sampling=sampling).max_reply_tokens == expected


def test_a_copy_in_another_process_wants_the_same_file(weights: Path) -> None:
    model = GGUFChatModel(f"local:{weights}", sampling={"temperature": 0.5})
    data = pickle.dumps(model)
    assert pickle.loads(data).fingerprint == model.fingerprint
    write_gguf(weights, {"general.name": "Other"})
    with pytest.raises(ConfigError, match="Expected the model file of the first process"):
        pickle.loads(data)


def test_local_is_a_spec_of_actors_and_reflectors(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAGYM_LOCAL_MODEL", str(weights))
    for spec in ("local", {"model": "local"}, f"local:{weights}"):
        actor = make_actor(spec)
        assert isinstance(actor, ChatActor)
        assert isinstance(actor.model, GGUFChatModel)
        assert actor.context_tokens == 4096
    for spec in ("local", {"method": "ict", "model": "local"}):
        reflector: Any = make_reflector(spec)
        assert isinstance(reflector.model, GGUFChatModel)
        assert reflector.max_tokens == int(0.75 * (4096 - reflector.model.max_reply_tokens))


def test_what_does_not_belong_to_a_model_is_refused(weights: Path) -> None:
    local = {"model": f"local:{weights}"}
    with pytest.raises(ConfigError, match="'api_key_env' does not belong to the local model"):
        make_model({**local, "api_key_env": "KEY"})
    with pytest.raises(ConfigError, match="'server' does not belong to the model 'm'"):
        make_model({"model": "m", "base_url": "http://localhost:1/v1", "server": {"slots": 1}})
    with pytest.raises(ConfigError, match="Unknown field of the server 'slot': expected one of 'slots'"):
        make_model({**local, "server": {"slot": 1}})
    with pytest.raises(ConfigError, match="context_tokens must be at most 4096, for which tiny was trained, got 5000"):
        make_model({**local, "server": {"context_tokens": 5000}})
    with pytest.raises(ConfigError, match="A local model is named 'local'"):
        GGUFChatModel("tiny")


def test_without_the_engine_the_error_names_the_package(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_server.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"'xllamacpp', which is not installed\. Run: pip install"):
        GGUFChatModel(f"local:{weights}")
    assert GGUFChatModel(f"local:{weights}", client=ClientConfig(offline=True)).model == "tiny"


PLAY = """
import sys, time, gymnasium, metagym
actor = {"model": "local", "sampling": {"max_tokens": 20}, "server": {"threads": 1}}
env = gymnasium.make("MetaGym/Gates-v0", actor=actor, episodes_per_step=2, max_steps=1, allow_bad_batches=True)
env.reset(seed=0)
trajectories = env.step("Push.")[0]
assert not any(item.scripted for item in trajectories)
print(trajectories[0].steps[0].action.completion.usage.completion_tokens, flush=True)
time.sleep(1000 if len(sys.argv) > 1 else 0)
"""


@linux
@real
@pytest.mark.slow
@pytest.mark.local
@pytest.mark.timeout(300)
@pytest.mark.parametrize("ends", ["killed", "by itself"])
def test_a_real_model_plays_and_leaves_no_process(ends: str, tmp_path: Path) -> None:
    model = tmp_path / "of-this-test.gguf"
    model.symlink_to(LOCAL_MODEL)
    environ = {**os.environ, "METAGYM_LOCAL_MODEL": str(model), "PYTHONPATH": str(SRC.parent)}
    words = ["wait"] if ends == "killed" else []
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", PLAY, *words], env=environ, stdout=subprocess.PIPE
    ) as run:
        assert run.stdout is not None
        assert 1 <= int(run.stdout.readline()) <= 20
        if ends == "killed":
            assert processes(str(model))
            run.kill()
        run.wait()
    deadline = time.monotonic() + (5 if ends == "killed" else 0)
    while processes(str(model)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes(str(model)) == []


@real
@pytest.mark.slow
@pytest.mark.local
@pytest.mark.timeout(300)
def test_equal_seeds_give_equal_replies_without_the_prompt_cache() -> None:
    """Also if the calls arrive in another order, and with others at the same time."""
    sampling = {"temperature": 1.0, "max_tokens": 24, "cache_prompt": False}
    model = GGUFChatModel(f"local:{LOCAL_MODEL}", sampling=sampling, server=LlamaCppConfig(threads=1))

    async def play() -> tuple[list[str], list[str]]:
        try:
            alone = [(await ask(model, seed)).text for seed in range(4)]
            together = await asyncio.gather(*(ask(model, seed) for seed in reversed(range(4))))
            return alone, [reply.text for reply in reversed(together)]
        finally:
            await model.aclose()

    alone, together = asyncio.run(play())
    assert alone == together
    assert len(set(alone)) > 1


@real
@pytest.mark.slow
@pytest.mark.local
@pytest.mark.timeout(300)
@pytest.mark.parametrize("reply_format", ["react", "act"])
def test_a_real_model_gives_only_available_actions(reply_format: str) -> None:
    actor = {
        "model": f"local:{LOCAL_MODEL}",
        "reply_format": reply_format,
        "sampling": {"temperature": 1.0},
        "server": {"threads": 1},
    }
    with GatesMetaEnv(actor, episodes_per_step=2, max_steps=3) as env:
        env.reset(seed=0)
        trajectories, _, _, _, info = env.step("Push.")
    assert info["invalid_action_rate"] == 0
    assert {step.action.completion.constraint for item in trajectories for step in item.steps} == {"grammar"}  # type: ignore[union-attr]
