"""Keys, accounts and addresses go to their own server, and into no record, file or message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metagym import OpenAIChatModel, make
from metagym.actor import ChatActor
from metagym.errors import InfrastructureError, ModelError
from metagym.models import Call, ask
from metagym.runs.running import run_experiment
from metagym.testing import FakeChatModel, FakeOpenAIServer, ServerReply
from tests.conftest import MakeGates, Serve
from tests.runs.conftest import manifest

KEY = "sk-very-secret-0123456789"
CLIENT = {"first_pause_s": 0.01, "max_pause_s": 0.02, "max_retry_s": 0.1, "breaker_failures": 3}
ACCOUNT = {"OPENAI_API_KEY": KEY, "OPENAI_ORG_ID": "org-mine", "OPENAI_PROJECT_ID": "proj-mine"}


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**ACCOUNT, "MY_KEY": KEY}.items():
        monkeypatch.setenv(name, value)


def headers_sent(server: FakeOpenAIServer) -> str:
    return str([dict(request.headers) for request in server.requests])


@pytest.mark.parametrize("options", [{}, {"api_key_env": "MY_KEY"}])
def test_organisation_and_project_are_not_sent_to_a_foreign_server(serve: Serve, options: dict[str, Any]) -> None:
    server = serve("Action: push")
    actor = {"model": "m", "base_url": server.base_url, "client": CLIENT, **options}
    with make("MetaGym/Gates-v0", actor=actor, episodes_per_step=1, max_steps=2) as env:
        env.reset(seed=0)
        env.step("Walk.")
    sent = headers_sent(server)
    assert "org-mine" not in sent
    assert "proj-mine" not in sent
    assert (KEY in sent) is ("api_key_env" in options)


def test_organisation_and_project_are_not_sent_to_the_server_that_a_variable_names(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve("Action: push")
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    with make("MetaGym/Gates-v0", actor={"model": "m", "client": CLIENT}, episodes_per_step=1, max_steps=1) as env:
        env.reset(seed=0)
        env.step("Walk.")
    assert server.requests
    assert "org-mine" not in headers_sent(server)
    assert "proj-mine" not in headers_sent(server)


FAILURES = {
    "a key repeated": ServerReply(f"Incorrect API key provided: {KEY}", status=401),
    "an address": ServerReply("see http://internal-host:8000/v1?user=me", status=400),
    "no such model": ServerReply("no such model", status=404),
}


@pytest.mark.parametrize("name", [*FAILURES, "nothing there"])
def test_no_key_and_no_address_is_in_the_error_of_an_episode_or_in_a_file(
    name: str, tmp_path: Path, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    url = serve(FAILURES[name]).base_url if name in FAILURES else "http://127.0.0.1:9/v1"
    actor = {"model": "m", "base_url": url, "api_key_env": "MY_KEY", "client": CLIENT}
    about = manifest(env_options={"actor": actor, "episodes_per_step": 2}, reflector="fixed", num_steps=1)
    with pytest.raises(InfrastructureError) as caught:
        run_experiment(about, tmp_path / "run")
    assert KEY not in str(caught.value)
    assert KEY not in caplog.text
    log = (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8")
    assert "http://..." in log
    assert url.removeprefix("http://") not in log
    assert "internal-host" not in log
    for file in (tmp_path / "run").iterdir():
        assert KEY.encode() not in file.read_bytes(), file.name


ENDS = {
    "too long": ServerReply("This model's maximum context length is 10 tokens.", status=400),
    "filtered": ServerReply("flagged", status=400, error={"code": "content_filter"}),
}


@pytest.mark.parametrize("name", [*FAILURES, *ENDS, "nothing there"])
def test_no_file_but_the_manifest_holds_the_address(name: str, tmp_path: Path, serve: Serve) -> None:
    replies = FAILURES | ENDS
    url = serve(replies[name]).base_url if name in replies else "http://127.0.0.1:9/v1"
    actor = {"model": "m", "base_url": url, "api_key_env": "MY_KEY", "client": CLIENT}
    about = manifest(env_options={"actor": actor, "episodes_per_step": 2}, reflector="fixed", num_steps=1)
    with pytest.raises(InfrastructureError):
        run_experiment(about, tmp_path / "run")
    host = b"127.0.0.1"
    assert [file.name for file in (tmp_path / "run").iterdir() if host in file.read_bytes()] == ["manifest.json"]


def test_the_address_in_an_error_of_the_users_own_model_is_not_recorded(make_gates: MakeGates) -> None:
    class Own(FakeChatModel):
        async def complete(self, messages: Any, call: Any) -> Any:
            raise OSError("cannot reach https://user:pass@host/v1?key=1")

    env = make_gates(ChatActor(Own([])), episodes_per_step=1)
    env.reset(seed=0)
    with pytest.raises(InfrastructureError) as caught:
        env.step("Walk.")
    assert caught.value.meta_step is not None  # type: ignore[attr-defined]
    (failed,) = caught.value.meta_step.trajectories  # type: ignore[attr-defined]
    assert "OSError: cannot reach https://..." in failed.error
    assert "user:pass" not in failed.error + failed.traceback


@pytest.mark.parametrize("key", ["sk-a/b+c/0123456789", KEY])
def test_a_key_that_json_spells_in_another_way_is_masked(
    key: str, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    from metagym import background

    monkeypatch.setenv("MY_KEY", key)
    spelled = key.replace("/", "\\/").replace("sk", "\\u0073k")
    raw = '{"choices": [{"message": {"content": "Your key is ' + spelled + '"}, "finish_reason": "stop"}]}'
    model = OpenAIChatModel("m", base_url=serve(ServerReply(raw=raw)).base_url, api_key_env="MY_KEY")
    completion = background.run(ask(model, [{"role": "user", "content": "Hi."}], Call("actor")))
    assert completion.text == "Your key is ***"


def test_a_caller_who_asks_the_model_is_given_the_address() -> None:
    from metagym import background

    model = OpenAIChatModel("m", base_url="http://127.0.0.1:9/v1", max_retries=0)
    with pytest.raises(ModelError, match=r"127\.0\.0\.1:9"):
        background.run(ask(model, [{"role": "user", "content": "Hi."}], Call("actor")))
