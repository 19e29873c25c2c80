"""The policy: padding, sampling and log-probabilities agree; models that it cannot use are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.train
torch: Any = pytest.importorskip("torch", reason="needs metagym[train]")
pytest.importorskip("transformers", reason="needs metagym[train]")

from metagym.errors import ConfigError  # noqa: E402
from metagym.training.policy import Policy  # noqa: E402


def test_left_padding_equals_no_padding(policy: Policy) -> None:
    short, long = list(range(5, 12)), list(range(3, 40))
    answers = [[20, 21, 22, policy.end_id], [30, policy.end_id]]
    with torch.no_grad():
        both, mask = policy.logprobs([short, long], answers)
        alone = [policy.logprobs([prompt], [answer])[0] for prompt, answer in zip([short, long], answers, strict=True)]
    assert mask.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert torch.allclose(both[0], alone[0][0], atol=1e-5)
    assert torch.allclose(both[1, :2], alone[1][0], atol=1e-5)
    assert not both[1, 2:].any()


def test_sampled_logprobs_are_those_of_the_training_pass(policy: Policy) -> None:
    prompts = [list(range(5, 12)), list(range(3, 40)), [7]]
    for temperature in (1.0, 0.7):
        samples = policy.sample(
            prompts, max_new_tokens=12, generator=torch.Generator().manual_seed(0), temperature=temperature
        )
        with torch.no_grad():
            again, mask = policy.logprobs(prompts, [s.token_ids for s in samples], temperature=temperature)
        for row, sample in enumerate(samples):
            assert len(sample.token_ids) == int(mask[row].sum())
            assert sample.logprobs == pytest.approx(again[row, : len(sample.token_ids)].tolist(), abs=1e-4)


def test_a_sample_ends_with_the_end_token_or_is_not_finished(policy: Policy) -> None:
    prompts = [policy.encode([{"role": "user", "content": "oak opens knock"}])] * 16
    samples = policy.sample(prompts, max_new_tokens=60, generator=torch.Generator().manual_seed(0))
    for sample in samples:
        assert sample.is_finished == (sample.token_ids[-1] == policy.end_id)
        assert policy.end_id not in sample.token_ids[:-1]
        assert "<|im_end|>" not in sample.text
    assert len({sample.text for sample in samples}) > 1


def test_sampling_follows_from_the_generator(policy: Policy) -> None:
    prompts = [[5, 6, 7], [8]]
    first, again, other = (
        policy.sample(prompts, max_new_tokens=8, generator=torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)
    )
    assert first == again
    assert first != other


def test_an_unknown_dtype_is_refused(tiny_start: Path) -> None:
    with pytest.raises(ConfigError, match="dtype must be 'float32' or 'bfloat16', got 'float8'"):
        Policy.load(tiny_start, dtype="float8")


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Expected a causal language model .* got"):
        Policy.load(tmp_path)


def test_a_model_without_chat_template_is_refused(policy: Policy) -> None:
    class Bare:
        chat_template = None
        eos_token_id = 1

    with pytest.raises(ConfigError, match="has a chat template, got one without"):
        Policy(policy.model, Bare())
