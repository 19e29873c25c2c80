"""What verl itself makes of our configuration, data and reward. It trains nothing: verl needs GPUs for that.

verl wants an older transformers than the extra `train` allows, so these tests run in an environment of its own
(`docs/training.md` says how to make it), and are skipped where verl is not installed.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.train,
    pytest.mark.filterwarnings("default"),  # verl's own, and of what it imports
    pytest.mark.timeout(300),
]
pytest.importorskip("verl", reason="needs verl 0.9.1 in an environment of its own")

import torch  # noqa: E402
from hydra import compose, initialize_config_dir  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402
from verl import DataProto  # noqa: E402
from verl.trainer.ppo.reward import load_reward_manager  # noqa: E402
from verl.utils.config import validate_config  # noqa: E402
from verl.utils.dataset.rl_dataset import RLHFDataset, collate_fn  # noqa: E402

from metagym.envs.gates.demo import GatesDemoReflector  # noqa: E402
from metagym.envs.gates.env import GATES, law_of  # noqa: E402
from metagym.registration import make  # noqa: E402
from metagym.training.experience import Experience, chat_messages, collect  # noqa: E402
from metagym.training.reward import MetaReward  # noqa: E402
from metagym.training.verl import write_verl_parquet  # noqa: E402
from metagym.training_demo.gates_problem import prompt_of  # noqa: E402

CONFIGS = Path(__file__).parents[2] / "examples" / "training" / "verl"
OPTIONS = {"actor": "demo", "episodes_per_step": 2}


def composed(name: str, *overrides: str) -> Any:
    # As `python -m verl.trainer.main_ppo --config-dir CONFIGS --config-name NAME` composes it.
    with initialize_config_dir(config_dir=str(CONFIGS), version_base=None):
        return compose(config_name=name, overrides=["hydra.searchpath=[pkg://verl.trainer.config]", *overrides])


@pytest.fixture(scope="module")
def experience(tmp_path_factory: pytest.TempPathFactory) -> list[Experience]:
    env = make("MetaGym/Gates-v0", **OPTIONS)
    found = collect(env, GatesDemoReflector(), tmp_path_factory.mktemp("data"), num_loops=2, num_steps=2)
    env.close()
    return found


@pytest.fixture
def config(experience: list[Experience], tmp_path: Path) -> Any:
    write_verl_parquet(experience, tmp_path / "verl.parquet", env_id="MetaGym/Gates-v0", env_options=OPTIONS)
    return composed(
        "reflector_grpo",
        f"data.train_files={tmp_path / 'verl.parquet'}",
        f"+data.cache_dir={tmp_path}",
        "data.filter_overlong_prompts_workers=null",  # in this process
    )


@pytest.mark.parametrize(("name", "num_gpus"), [("reflector_grpo", 8), ("reflector_grpo_nodes", 32)])
def test_the_configuration_is_composed_and_passes_verls_own_validation(name: str, num_gpus: int) -> None:
    config = composed(name)
    validate_config(config, use_reference_policy=True, use_critic=False)
    assert config.trainer.nnodes * config.trainer.n_gpus_per_node == num_gpus
    assert config.algorithm.adv_estimator == "grpo"
    assert config.actor_rollout_ref.actor.optim.lr == 3e-6
    assert config.actor_rollout_ref.rollout.n == 8
    assert config.reward.custom_reward_function.name == "compute_score"


def test_verls_data_set_reads_what_we_write(experience: list[Experience], config: Any, tiny_start: Path) -> None:
    dataset = RLHFDataset(config.data.train_files, AutoTokenizer.from_pretrained(tiny_start), config.data)
    assert len(dataset) == len(experience)
    for row, item in enumerate(experience):
        assert list(dataset[row]["raw_prompt"]) == chat_messages(item.meta_step)
        assert dataset[row]["extra_info"]["id"] == item.id


def test_verls_reward_manager_gets_the_librarys_reward(
    experience: list[Experience], config: Any, tiny_start: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_start)
    dataset = RLHFDataset(config.data.train_files, tokenizer, config.data)
    family = experience[0].task_ids[0].split("/")[0]
    right = prompt_of(dict(zip(GATES, law_of(family).opens, strict=True)))
    texts = [f"IMPROVED PROMPT:\n{right}", "no marker"]
    ids = tokenizer(texts, add_special_tokens=False, padding=True, padding_side="right", return_tensors="pt")
    rows = collate_fn([dataset[0], dataset[0]])
    data = DataProto.from_dict(
        tensors={
            "responses": ids["input_ids"],
            "attention_mask": torch.cat([torch.ones(2, 3, dtype=torch.long), ids["attention_mask"]], 1),
        },
        non_tensors={name: value for name, value in rows.items() if not isinstance(value, torch.Tensor)},
    )

    async def rewarded() -> list[Any]:
        manager = load_reward_manager(config, tokenizer)
        return list(await asyncio.gather(*(manager.run_single(data[row : row + 1]) for row in range(2))))

    found = asyncio.run(rewarded())
    env: Any = make("MetaGym/Gates-v0", **OPTIONS)
    before = MetaReward(env.unwrapped)(experience[0].meta_step, ["no marker"])[0]
    env.close()
    assert before is not None
    penalty = config.reward.custom_reward_function.reward_kwargs.format_penalty
    assert [item["reward_score"] for item in found] == [1.0, pytest.approx(before - penalty)]
    assert [item["reward_extra_info"]["format_failure"] for item in found] == [0.0, 1.0]
