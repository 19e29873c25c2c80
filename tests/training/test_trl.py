"""The TRL adapter: the same reward as one async function, in a real trainer where TRL is installed."""

from __future__ import annotations

import asyncio
import inspect
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.train
pytest.importorskip("torch", reason="needs metagym[train]")

from metagym.envs.gates.env import GATES, law_of  # noqa: E402
from metagym.errors import ConfigError  # noqa: E402
from metagym.registration import make  # noqa: E402
from metagym.training.experience import to_experience, write_jsonl  # noqa: E402
from metagym.training.grpo import GRPOConfig  # noqa: E402
from metagym.training.meta_episode_env import MetaEpisodeConfig, MetaEpisodeEnv  # noqa: E402
from metagym.training.reward import MetaReward  # noqa: E402
from metagym.training.trl import (  # noqa: E402
    grpo_arguments,
    make_dataset,
    make_environment_factory,
    make_reward_function,
    meta_episode_rows,
)
from metagym.training_demo.gates_problem import GradedGatesMetaEnv, compact_messages, prompt_of  # noqa: E402
from metagym.types import digest  # noqa: E402
from tests.conftest import ROOT, SRC, FailingEnv, MakeGates, gates_of  # noqa: E402


def experience_of(env: Any, num_laws: int = 4) -> Any:
    laws = [f"law-{law:04d}" for law in range(num_laws)]
    histories = [env.replay([env.default_prompt], [f"{law}/1", f"{law}/2"]) for law in laws]
    return to_experience(histories, fingerprint=digest(env.fingerprint))


def test_the_reward_function_rewards_each_completion_by_its_own_row(make_gates: MakeGates) -> None:
    env = make_gates(cls=GradedGatesMetaEnv)
    experience = experience_of(env)
    function = make_reward_function(MetaReward(env), experience)
    texts = [
        f"IMPROVED PROMPT:\n{prompt_of(dict(zip(GATES, law_of(f'law-000{law}').opens, strict=True)))}"
        for law in range(4)
    ]
    chats = [[{"role": "assistant", "content": text}] for text in texts]
    right = asyncio.run(function(completions=chats, row=[0, 1, 2, 3], prompts=None, trainer_state=None))
    wrong = asyncio.run(function(completions=texts, row=[1, 2, 3, 0]))
    assert right == [1.0] * 4
    assert max(wrong) < 1.0


@pytest.mark.parametrize(("micro_batch", "processes", "passes"), [(64, 1, (24, 1)), (5, 2, (4, 3)), (8, 3, (8, 1))])
def test_a_step_is_divided_among_processes_and_passes(
    micro_batch: int, processes: int, passes: tuple[int, int]
) -> None:
    config = GRPOConfig(group_size=4, groups_per_step=6, micro_batch=micro_batch)
    found = grpo_arguments(config, num_processes=processes)
    assert (found["per_device_train_batch_size"], found["gradient_accumulation_steps"]) == passes
    with pytest.raises(ConfigError, match="that 5 processes can share evenly, got 24"):
        grpo_arguments(config, num_processes=5)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("default")  # TRL's and accelerate's own
def test_trl_trains_with_it(tiny_start: Path, make_gates: MakeGates, tmp_path: Path) -> None:
    trl = pytest.importorskip("trl", reason="needs TRL: pip install trl")
    env = make_gates(cls=GradedGatesMetaEnv, episodes_per_step=2)
    experience = experience_of(env)
    config = GRPOConfig(group_size=2, groups_per_step=2, max_new_tokens=8)
    arguments = trl.GRPOConfig(
        output_dir=str(tmp_path), max_steps=2, use_cpu=True, report_to="none", save_strategy="no",
        **grpo_arguments(config),
    )  # fmt: skip
    trainer = trl.GRPOTrainer(
        model=str(tiny_start), args=arguments, train_dataset=make_dataset(experience, render=compact_messages),
        reward_funcs=[make_reward_function(MetaReward(env), experience)],
    )  # fmt: skip
    trainer.train()
    assert trainer.state.global_step == 2
    assert any("reward" in entry for entry in trainer.state.log_history)


def test_a_meta_episode_is_a_tool_of_one_name() -> None:
    with make("MetaGym/Gates-v0", actor="demo", episodes_per_step=2, score="progress") as env:
        tool = make_environment_factory(lambda: env, MetaEpisodeConfig(num_turns=2))()
        names = {name for name, _ in inspect.getmembers(type(tool), inspect.isfunction) if not name.startswith("_")}
        assert names == {"reset", "write_prompt", "get_reward"}
        assert "<episodes>" in tool.reset(seed=3, prompt=[])
        assert "<episodes>" in asyncio.run(tool.write_prompt("When the gate is oak, push."))
        said = asyncio.run(tool.write_prompt(" "))
        assert (
            said == "The improved prompt is invalid (it is empty); the old prompt was kept.\n\nThat was the last time."
        )
        assert asyncio.run(tool.write_prompt("More.")) == "That was the last time. The prompt is not used."
        rollout = MetaEpisodeEnv(env, MetaEpisodeConfig(num_turns=2))
        rollout.reset(seed=3)
        rollout.step("IMPROVED PROMPT: When the gate is oak, push.")
        assert asyncio.run(tool.get_reward()) == rollout.finish()


def test_a_reply_that_was_cut_off_has_the_reward_of_the_old_prompt(make_gates: MakeGates) -> None:
    env = make_gates(cls=GradedGatesMetaEnv)
    experience = experience_of(env, num_laws=1)
    function = make_reward_function(MetaReward(env), experience, end_ids=[2])
    right = f"IMPROVED PROMPT:\n{prompt_of(dict(zip(GATES, law_of('law-0000').opens, strict=True)))}"
    rewards = asyncio.run(function(completions=[right, right], row=[0, 0], completion_ids=[[5, 6, 2], [5, 6, 7]]))
    assert rewards == [1.0, experience[0].meta_step.reward]


def test_experience_of_another_environment_is_refused(make_gates: MakeGates) -> None:
    experience = experience_of(make_gates(), num_laws=1)
    with pytest.raises(ConfigError, match="Expected experience of this environment"):
        make_reward_function(MetaReward(make_gates("random")), experience)


def test_two_calls_of_one_message_are_two_turns() -> None:
    prompts = ["When the gate is oak, push.", "When the gate is iron, sing."]
    with make("MetaGym/Gates-v0", actor="demo", episodes_per_step=2, score="progress") as env:
        tool = make_environment_factory(lambda: env, MetaEpisodeConfig(num_turns=2))()
        tool.reset(seed=3)

        async def call_both() -> None:
            await asyncio.gather(*map(tool.write_prompt, prompts))

        asyncio.run(call_both())
        rollout = tool._rollout
        assert sorted(rollout.prompts[1:]) == sorted(prompts)
        played = [{item.episode.prompt for item in meta_step.trajectories} for meta_step in rollout.history[1:]]
        assert played == [{prompt} for prompt in rollout.prompts[1:]]


def test_a_meta_episode_whose_first_batch_failed_has_no_reward() -> None:
    with gates_of(lambda inner: FailingEnv(inner, lambda task_id: True))("demo", families=["law-0007"]) as env:
        tool = make_environment_factory(lambda: env)()
        assert tool.reset(seed=0) == "The first batch failed."
        assert asyncio.run(tool.get_reward()) is None


def test_a_meta_episode_that_failed_has_no_reward() -> None:
    fails: list[bool] = []
    env = gates_of(lambda inner: FailingEnv(inner, lambda task_id: bool(fails)))("demo", families=["law-0007"])
    tool = make_environment_factory(lambda: env)()
    tool.reset(seed=0)
    fails.append(True)
    assert asyncio.run(tool.get_reward()) is None
    env.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("default")  # TRL's and accelerate's own
def test_trl_trains_on_meta_episodes(tiny_start: Path, tmp_path: Path) -> None:
    trl = pytest.importorskip("trl", reason="needs TRL: pip install trl")
    import transformers
    from trl import chat_template_utils

    arguments = trl.GRPOConfig(
        output_dir=str(tmp_path), max_steps=3, use_cpu=True, report_to="none", save_strategy="no",
        **grpo_arguments(GRPOConfig(group_size=2, groups_per_step=1, max_new_tokens=8)),
    )  # fmt: skip
    options = {"actor": "demo", "episodes_per_step": 2, "score": "progress"}
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_start)
    tokenizer.chat_template = chat_template_utils.qwen3_chat_template  # the tiny model's own knows no tools
    trainer = trl.GRPOTrainer(
        model=str(tiny_start), args=arguments, train_dataset=meta_episode_rows(4), processing_class=tokenizer,
        environment_factory=make_environment_factory(
            lambda: make("MetaGym/Gates-v0", **options), MetaEpisodeConfig(num_turns=2)
        ),
    )  # fmt: skip
    trainer.train()
    assert trainer.state.global_step == 3
    assert any("reward" in entry for entry in trainer.state.log_history)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_example_runs_in_two_processes_and_resumes(tiny_start: Path, make_gates: MakeGates, tmp_path: Path) -> None:
    """`torchrun` starts two (the script asserts it); a third step is then taken from TRL's own checkpoint."""
    pytest.importorskip("trl", reason="needs TRL: pip install trl")
    env = make_gates(cls=GradedGatesMetaEnv, episodes_per_step=2)
    shutil.copytree(tiny_start, tmp_path / "start")
    write_jsonl(experience_of(env, 16), tmp_path / "experience.jsonl")
    script = [str(ROOT / "examples" / "training" / "train_with_trl.py"), str(tmp_path)]
    two = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *script]

    def output_of(command: list[str], steps: int) -> str:
        environment = {**os.environ, "PYTHONPATH": str(SRC.parent), "OMP_NUM_THREADS": "1", "STEPS": str(steps)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "2 processes, 2 steps, reward" in output_of(two, 2)
    assert "2 processes, 3 steps, reward" in output_of([*two, "--resume"], 3)
    assert (tmp_path / "trained" / "config.json").is_file()
