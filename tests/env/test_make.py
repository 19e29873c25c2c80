"""`gymnasium.make`: the spec, wrong options, and the actor that plays."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from typing import Any

import gymnasium
import pytest
from gymnasium.envs.registration import EnvSpec

from metagym.actor import ScriptedActorWarning
from metagym.errors import (
    ConfigError,
    EpisodesFailedError,
)
from metagym.testing import FakeOpenAIServer
from metagym.types import Episode, Observation, Step, StopReason
from tests.conftest import MakeGates, Serve
from tests.env.playing import played

pytestmark = pytest.mark.timeout(60)


def test_the_spec_survives_json_and_makes_an_equal_environment() -> None:
    options: dict[str, Any] = {
        "actor": {"model": "m", "base_url": "http://localhost:1/v1", "sampling": {"temperature": 0.5}},
        "families": ["law-0003", "law-0001"],
        "split": "validation",
        "episodes_per_step": 2,
        "schedule": "fresh",
        "max_steps": 7,
        "success_threshold": 0.9,
    }
    env: Any = gymnasium.make("MetaGym/Gates-v0", **options)
    again: Any = gymnasium.make(EnvSpec.from_json(env.spec.to_json()))
    assert again.unwrapped.config == env.unwrapped.config
    assert again.unwrapped.fingerprint == env.unwrapped.fingerprint
    assert json.loads(json.dumps(env.unwrapped.fingerprint)) == env.unwrapped.fingerprint


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"episodes_per_step": 0}, r"Option 'episodes_per_step' got 0: .*greater than or equal to 1"),
        ({"episodes_per_step": "many"}, r"Option 'episodes_per_step' got 'many': .*integer"),
        ({"max_steps": 0}, r"Option 'max_steps' got 0"),
        ({"max_concurrency": 0}, r"Option 'max_concurrency' got 0"),
        ({"max_failure_rate": 1.0}, r"Option 'max_failure_rate' got 1.0: .*less than 1"),
        ({"invalid": "ignore"}, r"Option 'invalid' got 'ignore': .*'reject' or 'execute'"),
        ({"episodes_per_stp": 3}, r"Unknown option 'episodes_per_stp': expected one of .*episodes_per_step"),
        ({"families": ["law-9999"]}, r"Unknown family 'law-9999': expected one of"),
        ({"families": "law-0001"}, r"families must be a list of names, got the text 'law-0001'. Write \['law-0001'\]"),
        ({"families": []}, r"families must be a non-empty list of names"),
        ({"split": "trian"}, r"Unknown split 'trian': .*Did you mean 'train'\?"),
        ({"schedule": "frseh"}, r"Unknown schedule 'frseh': .*Did you mean 'fresh'\?"),
    ],
)
def test_a_wrong_option_is_a_typed_error_with_expected_got_and_remedy(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        gymnasium.make("MetaGym/Gates-v0", actor="demo", **options)


def test_an_api_key_in_the_mapping_is_refused_by_gym_make() -> None:
    with pytest.raises(ConfigError, match=r"would be written into env.spec"):
        gymnasium.make("MetaGym/Gates-v0", actor={"model": "m", "api_key": "sk-secret"})


def test_an_unknown_id_is_gymnasiums_own_error() -> None:
    with pytest.raises(gymnasium.error.UnregisteredEnv, match=r"Did you mean"):
        gymnasium.make("MetaGym/Gatse-v0")


def test_without_an_actor_the_demo_plays_with_a_warning_and_demo_is_silent() -> None:
    with pytest.warns(ScriptedActorWarning, match=r"it is no language model"):
        gymnasium.make("MetaGym/Gates-v0").close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gymnasium.make("MetaGym/Gates-v0", actor="demo").close()


def test_without_an_actor_the_environment_variables_name_the_model(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve("Action: knock")
    monkeypatch.setenv("METAGYM_MODEL", "from-the-environment")
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    with gymnasium.make("MetaGym/Gates-v0", families=["law-0000"], episodes_per_step=1) as env:
        env.reset(seed=0)
        trajectories, reward, *_ = env.step("p")
    assert reward == 1.0
    assert not trajectories[0].scripted
    assert server.requests[0].body["model"] == "from-the-environment"


def test_an_import_path_names_an_actor() -> None:
    with gymnasium.make("MetaGym/Gates-v0", actor="tests.env.test_make:knock", families=["law-0000"]) as env:
        env.reset(seed=0)
        assert env.step("p")[1] == 1.0


def knock(episode: Episode, steps: Sequence[Step], observation: Observation) -> str:
    return "knock"


@pytest.mark.usefixtures("quick_retries")
def test_a_base_url_where_nothing_listens_is_a_typed_error(make_gates: MakeGates) -> None:
    with FakeOpenAIServer(lambda request: "") as gone:
        url = gone.base_url
    env = make_gates({"model": "m", "base_url": url, "timeout_s": 5}, episodes_per_step=1)
    env.reset(seed=0)
    with pytest.raises(EpisodesFailedError, match=r"Nothing answers there: start the server, or correct base_url"):
        env.step("p")


def test_an_empty_reply_is_recorded_data(make_gates: MakeGates, serve: Serve) -> None:
    env = make_gates({"model": "m", "base_url": serve("").base_url}, episodes_per_step=1, max_steps=3)
    trajectories, reward, *_ = played(env, 1)[0]
    assert (reward, trajectories[0].stop_reason, trajectories[0].num_invalid) == (0.0, StopReason.STEP_LIMIT, 3)
