"""GRPO for reflectors, in plain torch: the whole algorithm, to be read in one sitting.

For each experience (a prompt and the batch played under it) the policy writes a group of G reflections.
Each one's reward is the mean score of the same batch replayed under its prompt. Its advantage is the
reward, normalised within its group; the policy is moved towards the better half of each group.

Sources: Shao et al. 2024, arXiv 2402.03300 (GRPO); Shalev, Ding, Jamnik 2026, arXiv 2605.20477 (its use here).
How this departs from the second paper, whose full text was not at hand:
- one process on one device, sampling with the same weights that are trained: no verl, no separate engine;
- the reference of the KL term is the start model itself (a frozen copy, or the base under the adapter);
- a candidate whose replay the apparatus failed on is left out of its group's mean and of the loss;
- a group with no spread of rewards gives exactly zero advantage, and is counted, not resampled;
- a reply cut off at the length limit keeps the old prompt (its reward is that of changing nothing);
- learning rate, KL weight and group size default to the values reported there (second-hand).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from metagym.errors import ConfigError
from metagym.seeding import derive_seed
from metagym.training.extras import require
from metagym.training.policy import Policy, Sample, Tensor
from metagym.types import Completion, Record

torch = require("torch")


class GRPOConfig(Record):
    """The numbers of the algorithm."""

    group_size: int = 8
    """G, the reflections written for each experience; at least 2."""
    groups_per_step: int = 8
    """Experiences in a step."""
    learning_rate: float = 3e-6
    clip: float = 0.2
    """The ratio of new to old probability is clipped to [1 - clip, 1 + clip]."""
    kl: float = 0.001
    """Weight of the KL divergence to the reference; 0 does without a reference."""
    num_updates: int = 1
    """Optimizer steps on the same samples; the ratio differs from one from the second on."""
    micro_batch: int = 64
    """Completions in one forward pass; gradients are accumulated over a step's passes."""
    max_new_tokens: int = 1024
    temperature: float = 1.0
    max_grad_norm: float = 1.0


def advantages(rewards: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the rewards normalised within groups: float64 of shape `[num_groups, group_size]`.

    NaN marks a reward that is missing: it is left out of mean and spread, and its advantage is 0. A group
    without spread gets zeros.
    """
    known = ~np.isnan(rewards)
    count = np.maximum(known.sum(1, keepdims=True), 1)
    mean = np.where(known, rewards, 0.0).sum(1, keepdims=True) / count
    centred = np.where(known, rewards - mean, 0.0)
    spread = np.sqrt((centred**2).sum(1, keepdims=True) / count)
    # Equal rewards may leave a rounding error in their mean: that is no spread.
    return np.where(spread > 1e-8, centred / np.maximum(spread, 1e-8), 0.0)


def clipped_loss(
    logprobs: Tensor, old: Tensor, reference: Tensor | None, advantage: Tensor, mask: Tensor, config: GRPOConfig
) -> tuple[Tensor, Tensor]:
    """Return the loss of each completion, float32 of shape `[num_completions]`, and its KL to the reference.

    `logprobs`, `old`, `reference` and `mask` have the shape `[num_completions, num_tokens]`, `advantage`
    `[num_completions]`. A completion's loss is the mean over its own tokens (GRPO's own weighting). The KL
    estimate is r - 1 - log r with r = reference / policy: unbiased and never negative (Schulman 2020, "k3").
    """
    ratio = torch.exp(logprobs - old)
    gain = advantage[:, None]
    token_loss = -torch.minimum(ratio * gain, ratio.clamp(1 - config.clip, 1 + config.clip) * gain)
    difference = torch.zeros_like(logprobs) if reference is None else reference - logprobs
    token_kl = torch.exp(difference) - 1 - difference
    count = mask.sum(-1).clamp(min=1)
    kl = (token_kl * mask).sum(-1) / count
    return (token_loss * mask).sum(-1) / count + config.kl * kl, kl


RewardFunction = Callable[[int, Sequence[Completion]], Sequence[float | None]]
"""Rewards the reflections of one group: (index of the experience, G replies) -> G rewards, None where missing."""


class GRPO:
    """The algorithm with its optimizer. `step` takes the indices of experiences; all else follows from the seed.

    Raises:
        ConfigError: the group size is below 2: a group of one has no spread, and so no signal.
    """

    def __init__(
        self, policy: Policy, prompts: Sequence[Sequence[int]], reward: RewardFunction, *, seed: int,
        config: GRPOConfig, reference: Policy | None = None,
    ) -> None:  # fmt: skip
        if config.group_size < 2:
            raise ConfigError(f"group_size must be at least 2, got {config.group_size}: one reply alone has no rank.")
        if config.kl and reference is None and not policy.has_adapter:
            raise ConfigError("A KL weight needs a reference: pass the start model as reference=, or set kl=0.")
        self.policy, self.reference, self.config, self.seed = policy, reference, config, seed
        self.prompts, self.reward = prompts, reward
        self.optimizer = torch.optim.AdamW(policy.trainable().values(), lr=config.learning_rate, weight_decay=0.0)

    def rows(self, step: int) -> list[int]:
        """Return which experiences step `step` uses: each once an epoch, in an order drawn for the epoch."""
        size, first = len(self.prompts), step * self.config.groups_per_step
        epochs = {place // size for place in range(first, first + self.config.groups_per_step)}
        order = {epoch: np.random.default_rng((self.seed, epoch)).permutation(size) for epoch in epochs}
        return [int(order[place // size][place % size]) for place in range(first, first + self.config.groups_per_step)]

    def step(self, step: int) -> tuple[dict[str, float], list[tuple[int, list[Sample], np.ndarray[Any, Any]]]]:
        """Sample, reward, update; return the step's metrics, and its groups (experience, samples, rewards)."""
        rows, config = self.rows(step), self.config
        generator = torch.Generator().manual_seed(derive_seed("samples", self.seed, step))
        prompts = [self.prompts[row] for row in rows for _ in range(config.group_size)]
        samples: list[Sample] = []
        for start in range(0, len(prompts), config.micro_batch):
            samples += self.policy.sample(
                prompts[start : start + config.micro_batch], max_new_tokens=config.max_new_tokens,
                generator=generator, temperature=config.temperature,
            )  # fmt: skip
        groups = [samples[start : start + config.group_size] for start in range(0, len(samples), config.group_size)]
        rewards = np.array(
            [self.reward(row, [_completion(s) for s in group]) for row, group in zip(rows, groups, strict=True)], float
        )
        gains = advantages(rewards)
        metrics = self._update(samples, gains.reshape(-1), ~np.isnan(rewards.reshape(-1)))
        with np.errstate(invalid="ignore"):
            some = ~np.isnan(rewards).all(1)
            spread = float(np.mean(np.nanstd(rewards[some], axis=1))) if some.any() else math.nan
        metrics |= {
            "reward": float(np.nanmean(rewards)) if some.any() else math.nan,
            "reward_spread": spread,
            "missing_rewards": float(np.isnan(rewards).mean()),
            "no_signal": float(np.mean(~gains.any(1))),
            "length": float(np.mean([len(sample.token_ids) for sample in samples])),
            "cut_off": float(np.mean([not sample.is_finished for sample in samples])),
        }
        return metrics, list(zip(rows, groups, rewards, strict=True))

    def _update(self, samples: Sequence[Sample], gains: np.ndarray[Any, Any], known: np.ndarray[Any, Any]) -> dict[str, float]:  # fmt: skip  # noqa: E501
        config, kept = self.config, [index for index in range(len(samples)) if known[index]]
        batches = [kept[start : start + config.micro_batch] for start in range(0, len(kept), config.micro_batch)]
        old: dict[int, Tensor] = {}
        kls, norms, skipped = [], [], 0
        for update in range(config.num_updates if kept else 0):
            self.optimizer.zero_grad()
            finite = True
            for number, batch in enumerate(batches):
                logprobs, mask = self._logprobs(self.policy, [samples[index] for index in batch])
                if update == 0:  # what was sampled from, by the same arithmetic as the gradient: a ratio of one
                    old[number] = logprobs.detach()
                reference = self._reference([samples[index] for index in batch]) if config.kl else None
                gain = torch.tensor(gains[batch], dtype=torch.float32, device=logprobs.device)
                loss, kl = clipped_loss(logprobs, old[number], reference, gain, mask, config)
                finite = finite and bool(torch.isfinite(loss).all())
                (loss.sum() / len(kept)).backward()
                kls += kl.tolist()
            norm = float(torch.nn.utils.clip_grad_norm_(self.policy.trainable().values(), config.max_grad_norm))
            if finite and math.isfinite(norm):
                self.optimizer.step()
                norms.append(norm)
            else:
                skipped += 1  # a NaN loss must not reach the weights; it is counted, and seen in the metrics
        return {"kl": float(np.mean(kls)) if kls else 0.0, "grad_norm": float(np.mean(norms)) if norms else math.nan, "skipped_updates": float(skipped)}  # fmt: skip  # noqa: E501

    def _logprobs(self, policy: Policy, samples: Sequence[Sample]) -> tuple[Tensor, Tensor]:
        prompts, completions = [s.prompt_ids for s in samples], [s.token_ids for s in samples]
        return policy.logprobs(prompts, completions, temperature=self.config.temperature)

    @torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]
    def _reference(self, samples: Sequence[Sample]) -> Tensor:
        if self.reference is not None:
            return self._logprobs(self.reference, samples)[0]
        with self.policy.model.disable_adapter():
            return self._logprobs(self.policy, samples)[0]


def _completion(sample: Sample) -> Completion:
    reason = "stop" if sample.is_finished else "length"
    return Completion(text=sample.text, finish_reason=reason, token_ids=sample.token_ids, logprobs=sample.logprobs)
