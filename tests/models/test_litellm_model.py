"""`litellm:NAME`: the SDK of LiteLLM asks, and everything else is as for any other server."""

from __future__ import annotations

import copy
import importlib.util
import pickle
import sys
from typing import Any

import pytest

import metagym
from metagym.actor import ToolActor, make_actor
from metagym.errors import ConfigError, ContextOverflowError, MissingExtraError, ModelUnavailableError
from metagym.models import make_model
from metagym.models.litellm_model import LiteLLMChatModel
from metagym.testing import ServerReply
from tests.adapter.scales import ScalesMetaEnv
from tests.conftest import Serve
from tests.models.calling import complete
from tests.models.test_providers import Provider, call, played_by

HAS_LITELLM = importlib.util.find_spec("litellm") is not None


def needs_litellm(test: Any) -> Any:
    """Mark a test that imports the package, which takes seconds and warns by itself."""
    missing = pytest.mark.skipif(not HAS_LITELLM, reason="needs the extra metagym[litellm]")
    return pytest.mark.filterwarnings("default")(pytest.mark.slow(missing(test)))


@needs_litellm
def test_a_reply_and_its_tokens_come_through(serve: Serve) -> None:
    server = serve(ServerReply("Action: push", usage={"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}))
    model = make_model({"model": "litellm:openai/m", "base_url": server.base_url, "sampling": {"temperature": 0.5}})
    completion = complete(model)  # type: ignore[arg-type]
    assert (completion.text, completion.usage.prompt_tokens, completion.usage.completion_tokens) == (
        *("Action: push", 7),
        3,
    )
    body = server.requests[0].body
    assert (body["model"], body["temperature"], body["max_tokens"], body["seed"]) == ("m", 0.5, 4096, 1234)


@needs_litellm
def test_an_episode_with_native_calls_is_played(serve: Serve) -> None:
    server = serve(played_by(Provider()))
    actor = {"model": "litellm:openai/m", "base_url": server.base_url}
    with ScalesMetaEnv(actor, episodes_per_step=1, max_steps=8) as env:
        assert isinstance(env.actor, ToolActor)
        env.reset(seed=0)
        (trajectory,) = env.step("Weigh them.")[0]
    assert [step.command for step in trajectory.steps[:2]] == [
        '{"name": "weigh", "arguments": {"parcel": "a"}}',
        '{"name": "weigh", "arguments": {"parcel": "b"}}',
    ]
    assert server.requests[-1].body["tools"]
    assert call("weigh", 0, Provider(), parcel="a") in server.requests[-1].body["messages"][2]["tool_calls"]


@needs_litellm
@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (ServerReply("maximum context length is 8 tokens", 400, error={"code": "x"}), ContextOverflowError),
        (ServerReply("no such model", 404), ModelUnavailableError),
        (ServerReply("wrong key", 401), ModelUnavailableError),
    ],
)
def test_an_error_means_what_the_server_meant(serve: Serve, reply: ServerReply, error: type[Exception]) -> None:
    model = LiteLLMChatModel("litellm:openai/m", base_url=serve(reply).base_url, max_retries=0)
    with pytest.raises(error):
        complete(model)


@needs_litellm
def test_an_error_that_may_pass_is_retried_once_by_us_and_never_by_the_sdk(serve: Serve) -> None:
    server = serve(lambda request: "ok" if request.number else ServerReply("out of order", 500))
    client = metagym.models.ClientConfig(first_pause_s=0.001)
    assert complete(LiteLLMChatModel("litellm:openai/m", base_url=server.base_url, client=client)).text == "ok"
    assert len(server.requests) == 2


def test_a_name_makes_the_model_everywhere() -> None:
    actor: Any = make_actor("litellm:o3")
    assert isinstance(actor.model, LiteLLMChatModel)
    assert actor.model.fingerprint["model"] == "litellm:o3"
    assert actor.model.model == "o3"
    for twin in (copy.deepcopy(actor.model), pickle.loads(pickle.dumps(actor.model))):
        assert twin.fingerprint == actor.model.fingerprint
    reflector: Any = metagym.make_reflector("litellm:anthropic/x")
    assert isinstance(reflector.model, LiteLLMChatModel)


def test_no_variable_of_another_provider_is_needed_or_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert LiteLLMChatModel("litellm:anthropic/x")._server == {}
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    at = LiteLLMChatModel("litellm:openai/x", base_url="http://127.0.0.1:1/v1")
    assert at._server == {"api_base": "http://127.0.0.1:1/v1", "api_key": "no-key"}
    monkeypatch.setenv("MY_KEY", "my-secret")
    assert LiteLLMChatModel("litellm:anthropic/x", api_key_env="MY_KEY")._server == {"api_key": "my-secret"}


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "litellm", None)
    with pytest.raises(MissingExtraError, match="Expected the package 'litellm', which is not installed"):
        complete(LiteLLMChatModel("litellm:openai/m"))


def test_a_server_of_this_machine_is_not_for_it() -> None:
    with pytest.raises(ConfigError, match="'server' does not belong to the model 'litellm:x'"):
        make_model({"model": "litellm:x", "server": {"slots": 2}})
