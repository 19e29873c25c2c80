"""GRPO for reflectors, in plain torch: the whole algorithm in one file.

For each start the policy takes part in a group of G rollouts, and each of its turns is a reflection. With one turn
(`single_turns`), a start is an experience (a prompt and the batch played under it), and the reward of a reflection is
the mean score of the same batch, replayed under its prompt. With more, a rollout is a whole meta-episode, and a turn is
worth its own reward and those of all later turns. Its advantage is that sum, normalised within the group's turn. The
update moves the policy towards the better half of each group.

Sources: Shao et al. 2024, arXiv 2402.03300 (GRPO); Shalev, Ding, Jamnik 2026, arXiv 2605.20477 (its use here).
How this differs from the second paper, whose full text was not available:
- one process on one device, sampling with the same weights that are trained: no verl, no separate engine;
- the reference of the KL term is the start model itself (a frozen copy, or the base under the adapter);
- a candidate whose replay failed for infrastructure reasons is left out of its group's mean and of the loss;
- a group with equal rewards gives exactly zero advantage; it is counted, not sampled again;
- a reply that is cut off at the length limit keeps the old prompt (and so has the reward of the old prompt);
- learning rate, KL weight and group size default to the values reported there (second-hand).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import compress
from typing import Any

import numpy as np
from pydantic import Field

from metagym.errors import ConfigError
from metagym.imports import require
from metagym.training.meta_episode_env import Conversation, Rewards, Rollouts, returns_to_go
from metagym.training.metrics import EQUAL, Group, mean_or_nan
from metagym.training.policy import Policy, Sample, Tensor
from metagym.types import Completion, Record, derive_seed

torch = require("torch", extra="train")


class GRPOConfig(Record):
    """The settings of the algorithm."""

    group_size: int = 8
    """G, the number of rollouts in a group; at least 2: a group of one has no spread, so no signal."""
    groups_per_step: int = Field(default=8, ge=1)
    """Starts per step."""
    learning_rate: float = Field(default=3e-6, ge=0)
    clip: float = Field(default=0.2, gt=0)
    """The ratio of new to old probability is clipped to [1 - clip, 1 + clip]."""
    kl: float = Field(default=0.001, ge=0)
    """Weight of the KL divergence to the reference; with 0 no reference is needed."""
    num_updates: int = Field(default=1, ge=1)
    """Optimizer steps on the same samples; from the second on the ratio differs from one."""
    micro_batch: int = Field(default=64, ge=1)
    """Completions in one backward pass, at most; gradients are accumulated over the passes of a step."""
    micro_batch_tokens: int = Field(default=2048, ge=1)
    """Tokens in one backward pass, at most, with its padding: they decide the memory. Replies share their prompt."""
    sample_batch: int = Field(default=64, ge=1)
    """Completions that are sampled at the same time."""
    max_new_tokens: int = Field(default=1024, ge=1)
    temperature: float = Field(default=1.0, gt=0)
    """Above 0: without chance all replies of a group are equal, and there is nothing to learn from."""
    max_grad_norm: float = Field(default=1.0, gt=0)


def advantages(rewards: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the rewards normalised within groups: float64 of shape `[num_groups, group_size]`.

    NaN is a missing reward: it is left out of mean and spread, and its advantage is 0. A group with equal
    rewards gets zeros.
    """
    known: Any = np.ma.masked_invalid(rewards)
    spread = np.ma.masked_less_equal(known.std(1, keepdims=True), EQUAL)
    return np.ma.filled((known - known.mean(1, keepdims=True)) / spread, 0.0)


def clipped_loss(
    logprobs: Tensor, old: Tensor, reference: Tensor | None, advantage: Tensor, mask: Tensor, config: GRPOConfig
) -> tuple[Tensor, Tensor]:
    """Return the loss of each completion, float32 of shape `[num_completions]`, and its KL to the reference.

    `logprobs`, `old`, `reference` and `mask` have the shape `[num_completions, num_tokens]`, `advantage`
    `[num_completions]`. A completion's loss is the mean over its own tokens (the weighting of GRPO). The KL
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


def single_turns(
    conversations: Sequence[Conversation], reward: Callable[[int, Sequence[Completion]], Sequence[float | None]]
) -> Callable[[int, int], Rollouts]:
    """Return how groups of one turn are played: all reply to the same conversation, and `reward` is sent its index."""

    def play(start: int, size: int) -> Rollouts:
        replies = yield [conversations[start]] * size
        return [reward(start, replies)]

    return play


class GRPO:
    """The algorithm with its optimizer. The seed and the number of a step decide everything that is random.

    `play(start, G)` plays a group of rollouts from one of `num_starts` starts; all groups have equally many turns.
    `on_progress(doing, done, total)` is called for each token that is sampled, and each pass of an update.
    """

    def __init__(
        self,
        policy: Policy,
        play: Callable[[int, int], Rollouts],
        num_starts: int,
        *,
        config: GRPOConfig,
        seed: int,
        reference: Policy | None = None,
        on_progress: Callable[[str, int, int], Any] = lambda doing, done, total: None,
    ) -> None:
        if config.group_size < 2:
            raise ConfigError(f"group_size must be at least 2, got {config.group_size}: a single reply has no rank.")
        if config.kl and reference is None and not hasattr(policy.model, "disable_adapter"):
            raise ConfigError("A KL weight needs a reference: pass the start model as reference=, or set kl=0.")
        self.policy, self.reference, self.config, self.seed = policy, reference, config, seed
        self.play, self.num_starts, self._on_progress = play, num_starts, on_progress
        self.optimizer = torch.optim.AdamW(policy.trainable().values(), lr=config.learning_rate, weight_decay=0.0)

    def step(self, step: int) -> tuple[dict[str, float], list[Group]]:
        """Sample, reward, update; return the update's metrics, and a group for each start and turn."""
        groups = self._roll_out(step)
        gains = advantages(np.array([group.rewards for group in groups]))
        known = ~np.isnan([group.rewards for group in groups])
        samples = (sample for group in groups for sample in group.samples)
        return self._update(list(compress(samples, known.ravel())), gains[known]), groups

    def rows(self, step: int) -> list[int]:
        """Return the starts of a step. Each is used once per epoch, in a new order that the seed decides."""
        size, first = self.num_starts, step * self.config.groups_per_step
        places = [divmod(place, size) for place in range(first, first + self.config.groups_per_step)]
        return [int(np.random.default_rng((self.seed, epoch)).permutation(size)[index]) for epoch, index in places]

    def _roll_out(self, step: int) -> list[Group]:
        """Play the groups of a step, turn by turn, so that the replies of all groups are sampled together."""
        size, generator = self.config.group_size, self.policy.generator(derive_seed("samples", self.seed, step))
        starts = self.rows(step)
        plays = [self.play(start, size) for start in starts]
        turns: list[list[tuple[Sequence[Conversation], list[Sample]]]] = [[] for _ in plays]
        asked, rewards = [next(play) for play in plays], list[Rewards]()
        while not rewards:
            sampled = self._sample([conversation for group in asked for conversation in group], generator)
            for number, samples in enumerate(_chunks(sampled, size)):
                turns[number].append((asked[number], samples))
                try:
                    asked[number] = plays[number].send([sample.completion for sample in samples])
                except StopIteration as end:
                    rewards.append(end.value)
        returns = [np.array([returns_to_go(own) for own in np.array(values, float).T]).T for values in rewards]
        return [
            Group(start, turn, *turns[number][turn], returns[number][turn])
            for number, start in enumerate(starts)
            for turn in range(len(turns[number]))
        ]

    def _sample(self, conversations: Sequence[Conversation], generator: Any) -> list[Sample]:
        config, distinct = self.config, {id(conversation): conversation for conversation in conversations}
        encoded = {key: self.policy.encode(conversation) for key, conversation in distinct.items()}
        options: dict[str, Any] = {"max_new_tokens": config.max_new_tokens, "temperature": config.temperature}
        options["on_token"] = lambda done: self._on_progress("tokens sampled", done, config.max_new_tokens)
        batches = _chunks([encoded[id(conversation)] for conversation in conversations], config.sample_batch)
        return [sample for batch in batches for sample in self.policy.sample(batch, generator=generator, **options)]

    def _update(self, samples: Sequence[Sample], gains: np.ndarray[Any, Any]) -> dict[str, float]:
        """Take the optimizer's steps on samples with their advantages, of shape `[num_samples]`."""
        config, parameters = self.config, list(self.policy.trainable().values())
        parts = self.policy.micro_batches(samples, config.micro_batch, config.micro_batch_tokens)
        batches = [
            (samples[part], gains[part]) for part in parts if config.kl or gains[part].any()
        ]  # others: gradient 0
        old: list[Tensor] = []
        kls, norms, skipped = [], [], 0
        for _ in range(config.num_updates if samples else 0):
            self.optimizer.zero_grad()
            for number, (batch, gain) in enumerate(batches):
                logprobs, mask = self._logprobs(self.policy, batch)
                if number == len(old):  # the sampled distribution, computed as for the gradient: the ratio is one
                    old.append(logprobs.detach())
                advantage = torch.tensor(gain, dtype=torch.float32, device=logprobs.device)
                loss, kl = clipped_loss(logprobs, old[number], self._reference(batch), advantage, mask, config)
                (loss.sum() / len(samples)).backward()
                kls += kl.tolist()
                self._on_progress("passes of the update", number + 1, len(batches))
            norm = float(torch.nn.utils.clip_grad_norm_(parameters, config.max_grad_norm))
            if math.isfinite(norm):
                self.optimizer.step()
                norms.append(norm)
            else:
                skipped += 1  # a NaN must not reach the weights; the metrics count it
        return {"kl": mean_or_nan(kls), "grad_norm": mean_or_nan(norms), "skipped_updates": float(skipped)}

    def _logprobs(self, policy: Policy, samples: Sequence[Sample]) -> tuple[Tensor, Tensor]:
        prompts, completions = [sample.prompt_ids for sample in samples], [sample.token_ids for sample in samples]
        return policy.logprobs(prompts, completions, temperature=self.config.temperature)

    @torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]
    def _reference(self, samples: Sequence[Sample]) -> Tensor | None:
        if not self.config.kl:
            return None
        if self.reference is not None:
            return self._logprobs(self.reference, samples)[0]
        with self.policy.model.disable_adapter():
            return self._logprobs(self.policy, samples)[0]


def _chunks(items: Any, size: int) -> list[Any]:
    return [items[start : start + size] for start in range(0, len(items), size)]
