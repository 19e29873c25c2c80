"""The training run: metrics, checkpoints, a resume that ends in the same bits, and the trained reflector."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from pydantic import ValidationError

pytestmark = pytest.mark.train
torch: Any = pytest.importorskip("torch", reason="needs metagym[train]")
pytest.importorskip("transformers", reason="needs metagym[train]")

from metagym.errors import BudgetExceededError, ConfigError, InfrastructureError, RunFolderError  # noqa: E402
from metagym.training.experience import Experience, read_lines, write_jsonl  # noqa: E402
from metagym.training.grpo import GRPOConfig  # noqa: E402
from metagym.training.local_reflector import load_reflector, weights_digest  # noqa: E402
from metagym.training.meta_episode_env import MetaEpisodeConfig  # noqa: E402
from metagym.training.policy import Policy  # noqa: E402
from metagym.training.reward import MetaReward  # noqa: E402
from metagym.training.trainer import TrainingConfig, train, train_meta_episodes  # noqa: E402
from metagym.training_demo.gates_problem import GradedGatesMetaEnv, compact_messages  # noqa: E402
from metagym.types import (  # noqa: E402
    Completion,
    MetaStep,
    Trajectory,
)
from tests.conftest import SRC  # noqa: E402

GRPO = GRPOConfig(group_size=4, groups_per_step=2, learning_rate=1e-3, max_new_tokens=24)


class TextReward(MetaReward):
    """A reward that an untrained model can earn, so that every step changes the weights."""

    def __call__(self, meta_step: MetaStep, completions: Sequence[str | Completion]) -> list[float | None]:
        texts = [item if isinstance(item, str) else item.text for item in completions]
        return [len(set(text)) / 10 for text in texts]


def run(start: Path, experience: list[Experience], env: Any, path: Path, steps: int = 4, **options: Any) -> Path:
    return train(
        start, experience, TextReward(env), path, grpo=GRPO,
        config=TrainingConfig(**{"num_steps": steps, "save_every": 2, **options}), render=compact_messages,
    )  # fmt: skip


def lines(path: Path) -> list[dict[str, Any]]:
    return read_lines(path)


def test_a_stopped_run_resumes_to_the_same_bits(
    tiny_start: Path, experience: list[Experience], env: Any, tmp_path: Path
) -> None:
    whole = run(tiny_start, experience, env, tmp_path / "whole")
    run(tiny_start, experience, env, tmp_path / "parts", steps=2)
    parts = run(tiny_start, experience, env, tmp_path / "parts")
    assert weights_digest(Policy.load(whole)) == weights_digest(Policy.load(parts))
    assert weights_digest(Policy.load(whole)) != weights_digest(Policy.load(tiny_start))
    for name in ("metrics.jsonl", "samples.jsonl"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


def test_lines_after_the_checkpoint_and_a_torn_one_are_written_again(
    tiny_start: Path, experience: list[Experience], env: Any, tmp_path: Path
) -> None:
    run(tiny_start, experience, env, tmp_path, steps=2)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "reward": 7}\n{"step": 3, "rew')
    run(tiny_start, experience, env, tmp_path)
    found = lines(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in found] == [0, 1, 2, 3]
    assert found[2]["reward"] != 7


def test_a_step_without_any_reward_ends_the_run_and_is_played_again_on_resume(
    tiny_start: Path, experience: list[Experience], env: Any, tmp_path: Path
) -> None:
    plain, calls = TextReward.__call__, count()

    def dies(self: TextReward, meta_step: MetaStep, completions: Sequence[str | Completion]) -> list[float | None]:
        is_up = next(calls) < GRPO.groups_per_step
        return plain(self, meta_step, completions) if is_up else [None] * len(completions)

    whole = run(tiny_start, experience, env, tmp_path / "whole")
    with (
        mock.patch.object(TextReward, "__call__", dies),
        pytest.raises(InfrastructureError, match="Expected a reward for at least one of the 8 replies of step 2"),
    ):
        run(tiny_start, experience, env, tmp_path / "parts")
    assert [line["step"] for line in lines(tmp_path / "parts" / "samples.jsonl")] == [0] * 8
    assert [path.name for path in (tmp_path / "parts" / "checkpoints").iterdir()] == ["000001"]
    parts = run(tiny_start, experience, env, tmp_path / "parts")
    assert weights_digest(Policy.load(whole)) == weights_digest(Policy.load(parts))


def test_a_budget_counts_what_the_run_used_before_and_its_end_keeps_the_finished_steps(
    tiny_start: Path, experience: list[Experience], tmp_path: Path
) -> None:
    last, config = [], TrainingConfig(num_steps=4, save_every=100)
    for budget in (40, 40, 71, 80):  # a step plays 16 episodes, and half of step 3 fits in the first budget
        with (
            GradedGatesMetaEnv("demo", episodes_per_step=2, budget={"episodes": budget}) as env,
            contextlib.suppress(BudgetExceededError),
        ):
            train(tiny_start, experience, MetaReward(env), tmp_path, grpo=GRPO, config=config, render=compact_messages)
        last.append(max(path.name for path in (tmp_path / "checkpoints").iterdir()))
    assert last == ["000002", "000002", "000003", "000004"]


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")  # peft calls it
def test_an_adapter_is_resumed_and_served(
    tiny_start: Path, experience: list[Experience], env: Any, tmp_path: Path
) -> None:
    whole = run(tiny_start, experience, env, tmp_path / "whole", lora_rank=2)
    run(tiny_start, experience, env, tmp_path / "parts", steps=2, lora_rank=2)
    parts = run(tiny_start, experience, env, tmp_path / "parts", lora_rank=2)
    digests = {weights_digest(load_reflector(path).model.policy) for path in (whole, parts)}  # type: ignore[attr-defined]
    assert len(digests) == 1
    assert digests != {weights_digest(Policy.load(tiny_start))}


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")  # peft calls it
def test_an_adapter_on_an_adapter_keeps_what_the_first_learned(
    tiny_start: Path, experience: list[Experience], env: Any, tmp_path: Path
) -> None:
    first = run(tiny_start, experience, env, tmp_path / "first", lora_rank=2)
    second = train(
        first,
        experience,
        TextReward(env),
        tmp_path / "second",
        grpo=GRPO.model_copy(update={"learning_rate": 0.0}),
        config=TrainingConfig(num_steps=1, lora_rank=2),
        render=compact_messages,
    )
    assert weights_digest(Policy.load(second)) == weights_digest(Policy.load(first))


def test_metrics_are_written_per_step(tiny_start: Path, experience: list[Experience], env: Any, tmp_path: Path) -> None:
    run(tiny_start, experience, env, tmp_path, steps=2)
    found = lines(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in found] == [0, 1]
    for line in found:
        assert {"reward", "reward_spread", "kl", "length", "cut_off", "no_signal", "missing_rewards"} <= set(line)
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_evaluations_are_before_training_every_n_steps_and_at_the_end_once_each(
    tiny_start: Path, experience: list[Experience], env: Any, tmp_path: Path
) -> None:
    seen: list[int] = []

    def evaluate(policy: Policy, step: int) -> dict[str, float]:
        if step == 2 and 2 not in seen:
            seen.append(step)
            raise KeyboardInterrupt  # stopped while it is evaluated
        seen.append(step)
        return {"held_out": float(step)}

    def resume() -> Path:
        return train(
            tiny_start, experience, TextReward(env), tmp_path / "run", grpo=GRPO, render=compact_messages,
            evaluate=evaluate, config=TrainingConfig(num_steps=5, save_every=100, evaluate_every=2),
        )  # fmt: skip

    with pytest.raises(KeyboardInterrupt):
        resume()
    last = resume()
    assert seen == [0, 2, 2, 4, 5]
    assert [line["step"] for line in lines(tmp_path / "run" / "metrics.jsonl")] == [0, 1, 2, 3, 4]
    assert lines(tmp_path / "run" / "evaluations.jsonl") == [
        {"step": step, "held_out": float(step)} for step in (0, 2, 4, 5)
    ]
    evaluations = tmp_path / "run" / "evaluations.jsonl"
    whole = evaluations.read_bytes()
    evaluations.write_bytes(whole[:-5])  # torn by a crash
    resume()
    assert seen == [0, 2, 2, 4, 5, 5]
    assert evaluations.read_bytes() == whole
    resume()
    assert seen == [0, 2, 2, 4, 5, 5]
    plain = run(tiny_start, experience, env, tmp_path / "plain", steps=5)
    assert weights_digest(Policy.load(last)) == weights_digest(Policy.load(plain))


def test_other_settings_in_the_same_folder_are_refused(
    tiny_start: Path, experience: list[Experience], env: Any, tmp_path: Path
) -> None:
    run(tiny_start, experience, env, tmp_path, steps=1)
    with pytest.raises(RunFolderError, match="got another training"):
        run(tiny_start, experience, env, tmp_path, seed=5)


def test_other_experience_or_another_rendering_in_the_same_folder_is_refused(
    tiny_start: Path, experience: list[Experience], env: Any, tmp_path: Path
) -> None:
    run(tiny_start, experience, env, tmp_path, steps=1)
    other = experience[0].model_copy(update={"meta_step": experience[1].meta_step})
    with pytest.raises(RunFolderError, match="got another experience"):
        run(tiny_start, [other, *experience[1:]], env, tmp_path)
    with pytest.raises(RunFolderError, match="got another render"):
        train(tiny_start, experience, TextReward(env), tmp_path, grpo=GRPO, config=TrainingConfig(save_every=2))


def test_a_checkpoint_has_its_settings_from_the_start_and_gets_those_that_were_lost(
    tiny_start: Path, experience: list[Experience], env: Any, tmp_path: Path
) -> None:
    kept = run(tiny_start, experience, env, tmp_path, steps=2) / "metagym.json"
    settings = kept.read_text()
    kept.unlink()
    run(tiny_start, experience, env, tmp_path, steps=2)
    assert kept.read_text() == settings


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")  # peft calls it
def test_an_adapter_on_a_relative_path_is_served_from_any_directory(
    tiny_start: Path, experience: list[Experience], env: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_start, tmp_path / "start")
    monkeypatch.chdir(tmp_path)
    last = run(Path("start"), experience, env, tmp_path / "run", steps=1, lora_rank=2)
    monkeypatch.chdir("/")
    load_reflector(last)


def test_a_run_that_could_not_start_does_not_block_the_folder(
    tiny_start: Path, experience: list[Experience], env: Any, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="Expected a causal language model"):
        run(tmp_path / "no model", experience, env, tmp_path / "run", steps=1)
    assert run(tiny_start, experience, env, tmp_path / "run", steps=1).is_dir()


@pytest.mark.parametrize(
    ("config", "name"),
    [(GRPOConfig, "groups_per_step"), (GRPOConfig, "temperature"), (GRPOConfig, "num_updates"),
     (GRPOConfig, "sample_batch"), (TrainingConfig, "num_steps"), (TrainingConfig, "lora_rank")],
)  # fmt: skip
def test_a_setting_with_which_nothing_could_be_trained_is_refused(config: Any, name: str) -> None:
    with pytest.raises(ValidationError, match=name):
        config(**{name: 0})


def test_an_evaluation_that_would_never_be_called_is_refused(
    tiny_start: Path, experience: list[Experience], env: Any, tmp_path: Path
) -> None:
    config = TrainingConfig(num_steps=1)
    with pytest.raises(ConfigError, match="Expected evaluate_every of at least 1"):
        train(tiny_start, experience, TextReward(env), tmp_path, grpo=GRPO, config=config, evaluate=lambda *_: {})


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")  # peft calls it
def test_a_served_adapter_is_what_was_trained_in_bfloat16_too(tiny_start: Path, tmp_path: Path) -> None:
    trained = Policy.load(tiny_start, lora_rank=4, dtype="bfloat16")
    with torch.no_grad():
        for value in trained.trainable().values():
            value += 1e-4 * torch.randn(value.shape, generator=torch.Generator().manual_seed(1))
    trained.save(tmp_path)
    served = Policy.load(tmp_path, dtype="bfloat16", frozen=True)
    found = [policy.logprobs([[5, 6, 7]], [[8, 9]])[0] for policy in (trained, served)]
    assert torch.equal(*found)
    with pytest.raises(ConfigError, match="for an adapter on the adapter"):
        Policy.load(tmp_path, lora_rank=2, dtype="bfloat16")


def test_experience_of_another_environment_is_refused(
    tiny_start: Path, experience: list[Experience], tmp_path: Path
) -> None:
    with (
        GradedGatesMetaEnv("demo", episodes_per_step=3) as other,
        pytest.raises(ConfigError, match="Expected experience of this environment"),
    ):
        run(tiny_start, experience, other, tmp_path)


class TextGates(GradedGatesMetaEnv):
    """A score that an untrained model can earn: it depends on the prompt's text alone."""

    def score(self, trajectory: Trajectory) -> float:
        return len(set(trajectory.episode.prompt)) / 100


def run_meta_episodes(start: Path, path: Path, steps: int = 4) -> Path:
    """Train on meta-episodes of two turns; the whole reply is the prompt."""

    def read(completion: Completion) -> tuple[str, str, str]:
        return "", completion.text or "?", ""

    with mock.patch("metagym.training.meta_episode_env.read_reflection", read):
        return train_meta_episodes(
            start, lambda: TextGates("demo", episodes_per_step=2), path, num_starts=3, grpo=GRPO,
            meta_episode=MetaEpisodeConfig(num_turns=2), config=TrainingConfig(num_steps=steps, save_every=2),
            render=compact_messages,
        )  # fmt: skip


def test_training_on_meta_episodes_resumes_to_the_same_bits(tiny_start: Path, tmp_path: Path) -> None:
    whole = run_meta_episodes(tiny_start, tmp_path / "whole")
    run_meta_episodes(tiny_start, tmp_path / "parts", steps=2)
    parts = run_meta_episodes(tiny_start, tmp_path / "parts")
    assert weights_digest(Policy.load(whole)) == weights_digest(Policy.load(parts))
    assert weights_digest(Policy.load(whole)) != weights_digest(Policy.load(tiny_start))
    samples = lines(tmp_path / "whole" / "samples.jsonl")
    assert samples == lines(tmp_path / "parts" / "samples.jsonl")
    assert [len(line["messages"]) for line in samples if line["turn"] == 1][:1] == [len(samples[0]["messages"]) + 2]


SCRIPT = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from metagym.training.experience import read_experience
from tests.training.test_trainer import run, run_meta_episodes
from metagym.training_demo.gates_problem import GradedGatesMetaEnv
what, start, data, path = sys.argv[1:]
with GradedGatesMetaEnv("demo", episodes_per_step=2) as env:
    if what == "meta-episodes":
        run_meta_episodes(Path(start), Path(path), steps=12)
    else:
        run(Path(start), read_experience(data), env, Path(path), steps=12)
"""


@pytest.mark.slow
@pytest.mark.parametrize("what", ["reflections", "meta-episodes"])
def test_killed_with_9_and_resumed_it_ends_in_the_same_bits(
    what: str, tiny_start: Path, experience: list[Experience], env: Any, tmp_path: Path
) -> None:
    data = tmp_path / "data.jsonl"
    write_jsonl(experience, data)
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": f"{SRC.parent}:{root}", "OMP_NUM_THREADS": "1"}

    def start(path: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", SCRIPT, what, str(tiny_start), str(data), str(path)]
        return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)

    assert start(tmp_path / "whole").wait(timeout=100) == 0
    killed = tmp_path / "killed"
    for wanted in (3, 7):
        process = start(killed)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            metrics = killed / "metrics.jsonl"
            if metrics.exists() and metrics.read_bytes().count(b"\n") >= wanted:
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=10)
    assert start(killed).wait(timeout=100) == 0
    last = [Policy.load(tmp_path / name / "checkpoints" / "000012") for name in ("whole", "killed")]
    assert weights_digest(last[0]) == weights_digest(last[1])
    assert (tmp_path / "whole" / "metrics.jsonl").read_bytes() == (killed / "metrics.jsonl").read_bytes()
    assert json.loads((killed / "config.json").read_text())["start"] == str(tiny_start)
