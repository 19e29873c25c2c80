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
from hydra.utils import instantiate  # noqa: E402
from omegaconf import OmegaConf  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402
from verl import DataProto  # noqa: E402
from verl.trainer.ppo.reward import load_reward_manager  # noqa: E402
from verl.utils.config import validate_config  # noqa: E402
from verl.utils.dataset.rl_dataset import RLHFDataset, collate_fn  # noqa: E402

from metagym.envs.gates.demo import GatesDemoReflector  # noqa: E402
from metagym.envs.gates.env import GATES, law_of  # noqa: E402
from metagym.registration import make  # noqa: E402
from metagym.training.experience import Experience, chat_messages, collect  # noqa: E402
from metagym.training.meta_episode_env import MetaEpisodeConfig, MetaEpisodeEnv  # noqa: E402
from metagym.training.reward import MetaReward  # noqa: E402
from metagym.training.verl import write_verl_meta_episodes, write_verl_parquet  # noqa: E402
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


@pytest.mark.parametrize(
    ("name", "num_gpus"), [("reflector_grpo", 8), ("reflector_grpo_nodes", 32), ("meta_episodes_grpo", 8)]
)
def test_the_configuration_is_composed_and_passes_verls_own_validation(name: str, num_gpus: int) -> None:
    config = composed(name)
    validate_config(config, use_reference_policy=True, use_critic=False)
    assert config.trainer.nnodes * config.trainer.n_gpus_per_node == num_gpus
    assert config.algorithm.adv_estimator == "grpo"
    assert config.actor_rollout_ref.actor.optim.lr == 3e-6
    assert config.actor_rollout_ref.rollout.n == 8
    assert config.reward.custom_reward_function.name == "compute_score"
    assert (config.reward.custom_reward_function.path is None) == name.startswith("meta_episodes")


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


REPLIES = ("IMPROVED PROMPT: When the gate is oak, push.", "IMPROVED PROMPT: When the gate is oak, sing.")


class Speaker:
    """Stands for verl's servers: it writes the replies in turn."""

    def __init__(self, tokenizer: Any) -> None:
        self._written = [[*tokenizer(reply)["input_ids"], tokenizer.eos_token_id] for reply in REPLIES]
        self.asked: list[list[int]] = []

    async def generate(self, *, request_id: str, prompt_ids: list[int], sampling_params: Any) -> Any:
        from verl.workers.rollout.replica import TokenOutput

        self.asked.append(prompt_ids)
        written = self._written[len(self.asked) - 1]
        return TokenOutput(token_ids=written, log_probs=[-0.5] * len(written))


@pytest.mark.parametrize("limit", [4096, 40], ids=["whole", "cut off after the first reply"])
def test_verls_agent_loop_plays_a_whole_meta_episode(config: Any, tiny_start: Path, tmp_path: Path, limit: int) -> None:
    from verl.experimental.agent_loop.agent_loop import DictConfigWrap

    whole = MetaEpisodeConfig(num_turns=2)
    write_verl_meta_episodes(
        2, tmp_path / "meta.parquet", env_id="MetaGym/Gates-v0", env_options=OPTIONS, config=whole, first_seed=4
    )
    tokenizer = AutoTokenizer.from_pretrained(tiny_start)
    config.actor_rollout_ref.rollout.response_length = limit
    dataset = RLHFDataset(str(tmp_path / "meta.parquet"), tokenizer, config.data)
    row, speaker = dataset[1], Speaker(tokenizer)
    (entry,) = OmegaConf.load(CONFIGS / "agent_loop.yaml")
    assert row["agent_name"] == entry.name

    async def play() -> Any:
        loop = instantiate(
            {"_target_": entry._target_},
            trainer_config=DictConfigWrap(config),
            server_manager=speaker,
            tokenizer=tokenizer,
            processor=None,
            dataset_cls=RLHFDataset,
            data_config=DictConfigWrap(config.data),
        )
        return await loop.run({}, **row)

    output = asyncio.run(play())
    with make("MetaGym/Gates-v0", **OPTIONS) as env:
        alone = MetaEpisodeEnv(env, whole)
        alone.reset(seed=5)
        for reply in REPLIES[: len(speaker.asked)]:
            alone.step(reply)
        alone.finish()
    assert output.reward_score == sum(alone.rewards)
    assert output.extra_fields["turn_scores"] == alone.rewards
    shown = zip(output.response_ids, output.response_mask, output.response_logprobs, strict=True)
    written = [(token, logprob) for token, own, logprob in shown if own]
    assert tokenizer.decode([token for token, _ in written], skip_special_tokens=True) == "".join(
        REPLIES[: len(speaker.asked)]
    )
    assert {logprob for _, logprob in written} == {-0.5}
    assert len(output.response_ids) <= limit
    assert len(speaker.asked) == (2 if limit > 1000 else 1)
