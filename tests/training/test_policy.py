"""The policy: padding, sampling and log-probabilities agree; models that it cannot use are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.train
torch: Any = pytest.importorskip("torch", reason="needs metagym[train]")
pytest.importorskip("transformers", reason="needs metagym[train]")

from metagym.errors import ConfigError  # noqa: E402
from metagym.training.packing import pack_replies  # noqa: E402
from metagym.training.policy import Policy, Sample  # noqa: E402


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


def test_the_end_tokens_of_a_models_generation_end_a_sample_too(policy: Policy) -> None:
    policy.model.generation_config.eos_token_id = [policy.end_id, 5]
    try:
        ending = Policy(policy.model, policy.tokenizer)
    finally:
        policy.model.generation_config.eos_token_id = policy.end_id
    samples = ending.sample([[7]] * 64, max_new_tokens=20, generator=torch.Generator().manual_seed(0), temperature=9.0)
    assert any(sample.token_ids[-1] == 5 for sample in samples)
    assert all(5 not in sample.token_ids[:-1] for sample in samples)
    assert all(sample.is_finished for sample in samples if sample.token_ids[-1] == 5)


def test_sampling_follows_from_the_generator(policy: Policy) -> None:
    prompts = [[5, 6, 7], [8]]
    first, again, other = (
        policy.sample(prompts, max_new_tokens=8, generator=torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)
    )
    assert first == again
    assert first != other


def plain(policy: Policy) -> Policy:
    """The same policy, each reply behind a prompt of its own."""
    found = Policy(policy.model, policy.tokenizer)
    found.shares_prompts = False
    return found


PROMPTS = [[5, 6, 7], [5, 6, 7], [5, 6, 7], [8], [9, 10], [9, 10]]
REPLIES = [[20], [21, 22, 23], [24, 25], [26, 27], [28, 29, 30], [31]]


def test_the_gradient_behind_a_shared_prompt_is_that_of_replies_alone(policy: Policy) -> None:
    assert policy.shares_prompts
    found = []
    for reader in (policy, plain(policy)):
        policy.model.zero_grad()
        logprobs, mask = reader.logprobs(PROMPTS, REPLIES, temperature=0.7)
        (logprobs * torch.arange(1, 7)[:, None]).sum().backward()
        gradients = [value.grad.clone() for value in policy.trainable().values()]
        found.append((logprobs.detach(), mask, *gradients))
    policy.model.zero_grad()
    assert all(torch.allclose(shared, alone, rtol=1e-4, atol=1e-5) for shared, alone in zip(*found, strict=True))


def test_replies_that_share_a_prompt_are_sampled_as_alone(policy: Policy) -> None:
    shared, alone = (
        reader.sample(PROMPTS, max_new_tokens=8, generator=torch.Generator().manual_seed(1))
        for reader in (policy, plain(policy))
    )
    for one, other in zip(shared, alone, strict=True):
        assert one.token_ids == other.token_ids
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)


def test_a_model_with_a_window_of_attention_shares_no_prompt(policy: Policy) -> None:
    config = policy.model.config.__class__(**{**policy.model.config.to_dict(), "layer_types": ["sliding_attention"]})
    model = policy.model.__class__._from_config(config)
    assert not Policy(model, policy.tokenizer).shares_prompts


@pytest.mark.parametrize(
    ("max_samples", "max_tokens", "sizes"),
    [(64, 64, [6]), (2, 64, [2, 2, 2]), (64, 9, [3, 1, 2]), (64, 8, [2, 1, 1, 2]), (64, 1, [1] * 6)],
)
def test_a_pass_takes_as_many_replies_as_its_limits_allow(
    policy: Policy, max_samples: int, max_tokens: int, sizes: list[int]
) -> None:
    samples = [
        Sample(tuple(prompt), tuple(reply), (), "", True) for prompt, reply in zip(PROMPTS, REPLIES, strict=True)
    ]
    parts = policy.micro_batches(samples, max_samples, max_tokens)
    assert [len(samples[part]) for part in parts] == sizes
    assert [sample for part in parts for sample in samples[part]] == samples
    for part in parts:
        packed = pack_replies(PROMPTS[part], REPLIES[part], pad_id=0, share=policy.shares_prompts)
        assert packed.ids.numel() <= max_tokens or part.stop - part.start == 1


def test_the_number_of_tokens_is_told_while_sampling(policy: Policy) -> None:
    told: list[int] = []
    samples = policy.sample(PROMPTS, max_new_tokens=5, generator=policy.generator(0), on_token=told.append)
    assert told == list(range(1, 1 + max(len(sample.token_ids) for sample in samples)))


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
