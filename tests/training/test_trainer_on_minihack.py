"""A training run on the real MiniHack, with the full text of its batches. It tests the plumbing: nothing is learned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.train,
    pytest.mark.minihack,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("default"),  # of NLE and of what torch imports
]
pytest.importorskip("torch", reason="needs metagym[train]")
pytest.importorskip("transformers", reason="needs metagym[train]")
pytest.importorskip("nle", reason="needs metagym[minihack]")

from metagym.registration import make  # noqa: E402
from metagym.training.experience import chat_messages, collect, read_lines  # noqa: E402
from metagym.training.grpo import GRPOConfig  # noqa: E402
from metagym.training.local_reflector import weights_digest  # noqa: E402
from metagym.training.policy import Policy  # noqa: E402
from metagym.training.reward import MetaReward  # noqa: E402
from metagym.training.trainer import TrainingConfig, train  # noqa: E402
from metagym.training_demo import tiny_reflector as tiny  # noqa: E402
from metagym.types import Completion, MetaStep  # noqa: E402

OPTIONS = {"actor": "demo", "families": ["MiniHack-Room-Random-15x15-v0"], "episodes_per_step": 2}
GRPO = GRPOConfig(group_size=3, groups_per_step=1, micro_batch=1, learning_rate=1e-3, max_new_tokens=24)


class Reward(MetaReward):
    """The true reward plus a little per character, since a random model writes no usable prompt."""

    def __call__(self, meta_step: MetaStep, completions: Sequence[str | Completion]) -> list[float | None]:
        texts = [item if isinstance(item, str) else item.text for item in completions]
        played = zip(super().__call__(meta_step, completions), texts, strict=True)
        return [None if reward is None else reward + len(set(text)) / 100 for reward, text in played]


def make_model(path: Path, texts: list[str]) -> None:
    tiny.torch.set_num_threads(1)
    tokenizer: Any = tiny.make_tokenizer(texts)
    model: Any = tiny.make_tiny_model(len(tokenizer), seed=0, hidden_size=16, num_layers=1)
    Policy(model, tokenizer).save(path)


def test_a_few_steps_run_resume_and_log(tmp_path: Path) -> None:
    env: Any = make("MetaGym/MiniHack-v0", **OPTIONS)
    experience = collect(env, env.unwrapped.make_demo_reflector(), tmp_path / "data", num_loops=2, num_steps=2)
    experience = [item for item in experience if item.meta_step.index == 1]  # the shorter ones
    texts = {item.id: chat_messages(item.meta_step) for item in experience}
    make_model(tmp_path / "model", [message["content"] for text in texts.values() for message in text])
    reward = Reward(env.unwrapped)

    def go(name: str, steps: int) -> Path:
        config = TrainingConfig(num_steps=steps, save_every=1)
        return train(tmp_path / "model", experience, reward, tmp_path / name, grpo=GRPO, config=config)

    played = env.unwrapped.ledger.num_episodes
    whole = go("whole", 3)
    assert env.unwrapped.ledger.num_episodes - played == 3 * GRPO.group_size * 2
    go("parts", 1)
    parts = go("parts", 3)
    env.close()
    metrics, samples = (read_lines(tmp_path / "whole" / f"{name}.jsonl") for name in ("metrics", "samples"))
    assert [line["step"] for line in metrics] == [0, 1, 2]
    assert {line["missing_rewards"] for line in metrics} == {0.0}
    assert min(line["no_signal"] for line in metrics) == 0.0, "some candidates of a group must differ"
    assert all(sample["messages"] == texts[sample["experience"]] for sample in samples), "the full text"
    policy = Policy.load(tmp_path / "model")
    assert min(len(policy.encode(text)) for text in texts.values()) > 2_000
    assert weights_digest(Policy.load(whole)) == weights_digest(Policy.load(parts)) != weights_digest(policy)
    assert (tmp_path / "whole" / "metrics.jsonl").read_bytes() == (tmp_path / "parts" / "metrics.jsonl").read_bytes()
