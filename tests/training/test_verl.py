"""The verl adapter, without verl: the Parquet that it reads, and the reward as it calls it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from metagym.envs.gates.demo import GatesDemoReflector
from metagym.envs.gates.env import GATES, law_of
from metagym.errors import ConfigError, InfrastructureError
from metagym.registration import make
from metagym.training.experience import Experience, collect
from metagym.training.meta_episode_env import MetaEpisodeConfig
from metagym.training.reward import MetaReward
from metagym.training.verl import DATA_SOURCE, compute_score, write_verl_meta_episodes, write_verl_parquet
from metagym.training_demo.gates_problem import prompt_of

pytestmark = pytest.mark.train
parquet: Any = pytest.importorskip("pyarrow.parquet", reason="needs metagym[train]")

OPTIONS = {"actor": "demo", "episodes_per_step": 2}


@pytest.fixture
def rows(tmp_path: Path) -> tuple[list[Experience], list[dict[str, Any]]]:
    env = make("MetaGym/Gates-v0", **OPTIONS)
    experience = collect(env, GatesDemoReflector(), tmp_path / "data", num_loops=1, num_steps=2)
    env.close()
    write_verl_parquet(experience, tmp_path / "verl.parquet", env_id="MetaGym/Gates-v0", env_options=OPTIONS)
    return experience, parquet.read_table(tmp_path / "verl.parquet").to_pylist()


def test_the_columns_are_those_that_verl_reads(rows: Any) -> None:
    _, table = rows
    assert {"data_source", "prompt", "reward_model", "extra_info"} <= set(table[0])
    assert table[0]["data_source"] == DATA_SOURCE
    assert [message["role"] for message in table[0]["prompt"]] == ["system", "user"]
    assert json.loads(table[0]["reward_model"]["ground_truth"])["env_id"] == "MetaGym/Gates-v0"


def test_rows_of_meta_episodes_name_their_agent_loop_and_their_seed(tmp_path: Path) -> None:
    config = MetaEpisodeConfig(num_turns=2)
    path = tmp_path / "meta.parquet"
    write_verl_meta_episodes(2, path, env_id="MetaGym/Gates-v0", env_options=OPTIONS, config=config, first_seed=7)
    table = parquet.read_table(path).to_pylist()
    assert [(row["agent_name"], row["extra_info"]["seed"]) for row in table] == [("metagym", 7), ("metagym", 8)]
    spec = json.loads(table[0]["extra_info"]["meta_episode"])
    assert spec == {"env_id": "MetaGym/Gates-v0", "env_options": OPTIONS, "config": config.model_dump()}


def test_the_reward_is_that_of_the_library(rows: Any) -> None:
    experience, table = rows
    family = experience[0].task_ids[0].split("/")[0]
    right = prompt_of(dict(zip(GATES, law_of(family).opens, strict=True)))
    texts = [f"IMPROVED PROMPT:\n{right}", "no marker"]
    truth = table[0]["reward_model"]["ground_truth"]

    async def side_by_side() -> list[dict[str, Any]]:
        calls = (compute_score(DATA_SOURCE, text, truth, {"index": 0}, format_penalty=0.5) for text in texts)
        return list(await asyncio.gather(*calls))

    found = asyncio.run(side_by_side())
    env: Any = make("MetaGym/Gates-v0", **OPTIONS)
    before = MetaReward(env.unwrapped)(experience[0].meta_step, ["no marker"])[0]
    env.close()
    assert before is not None
    assert found == [{"score": 1.0, "format_failure": 0.0}, {"score": before - 0.5, "format_failure": 1.0}]


def test_another_data_source_is_refused_and_a_failed_replay_is_no_zero(
    rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, table = rows
    truth = table[0]["reward_model"]["ground_truth"]
    other = json.dumps({**json.loads(truth), "env_options": {**OPTIONS, "actor": "random"}})
    with pytest.raises(ConfigError, match="Expected experience of this environment"):
        asyncio.run(compute_score(DATA_SOURCE, "x", other))
    with pytest.raises(ConfigError, match="Expected the data source 'metagym', got 'gsm8k'"):
        asyncio.run(compute_score("gsm8k", "x", truth))

    def broken(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise OSError("the road is closed")

    monkeypatch.setattr("metagym.envs.gates.env.GatesEnv.reset", broken)
    with pytest.raises(InfrastructureError, match=r"has no reward: .*the road is closed"):
        asyncio.run(compute_score(DATA_SOURCE, "IMPROVED PROMPT: x", truth))
