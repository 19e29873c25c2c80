"""GRPO's pieces against slow, obvious versions; the whole step on a tiny model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.train
torch: Any = pytest.importorskip("torch", reason="needs metagym[train]")
pytest.importorskip("transformers", reason="needs metagym[train]")

from metagym.errors import ConfigError  # noqa: E402
from metagym.training.grpo import GRPO, GRPOConfig, advantages, clipped_loss, single_turns  # noqa: E402
from metagym.training.metrics import group_metrics  # noqa: E402
from metagym.training.policy import Policy  # noqa: E402
from metagym.types import Completion, Message  # noqa: E402


def slow_advantages(groups: list[list[float | None]]) -> list[list[float]]:
    rows = []
    for group in groups:
        known = [value for value in group if value is not None]
        mean = sum(known) / len(known) if known else 0.0
        spread = math.sqrt(sum((value - mean) ** 2 for value in known) / len(known)) if known else 0.0
        rows.append([0.0 if value is None or spread < 1e-8 else (value - mean) / spread for value in group])
    return rows


def test_advantages_equal_the_slow_version_with_missing_rewards_left_out() -> None:
    groups: list[list[float | None]] = [
        [0.0, 1.0, 0.25, 0.5],
        [None, 1.0, 0.0, None],
        [0.1, 0.1, 0.1, 0.1],
        [None, None, None, None],
        [None, 0.7, None, None],
    ]
    found = advantages(np.array(groups, dtype=float))
    assert np.allclose(found, slow_advantages(groups), atol=1e-12)
    assert not np.isnan(found).any()
    assert not found[2:].any()


def test_a_group_of_equal_rewards_gives_exactly_zero() -> None:
    """0.1 is no binary fraction: the mean of equal rewards need not equal them."""
    assert not advantages(np.full((3, 7), 0.1)).any()


def slow_loss(new: Any, old: Any, ref: Any, gain: Any, mask: Any, config: GRPOConfig) -> list[float]:
    losses = []
    for row in range(len(gain)):
        total, count = 0.0, 0
        for place in range(new.shape[1]):
            if not mask[row, place]:
                continue
            ratio = math.exp(new[row, place] - old[row, place])
            clipped = min(max(ratio, 1 - config.clip), 1 + config.clip)
            r = math.exp(ref[row, place] - new[row, place])
            total += -min(ratio * gain[row], clipped * gain[row]) + config.kl * (r - 1 - math.log(r))
            count += 1
        losses.append(float(total) / max(1, count))
    return losses


def test_the_loss_equals_the_slow_version() -> None:
    generator = torch.Generator().manual_seed(0)
    new, old, ref = (-torch.rand(4, 6, generator=generator).double() for _ in range(3))
    mask = torch.tensor([[1] * length + [0] * (6 - length) for length in (6, 3, 1, 0)]).double()
    gain = torch.tensor([1.3, -0.7, 0.0, 2.0]).double()
    config = GRPOConfig(clip=0.2, kl=0.3)
    loss, kl = clipped_loss(new, old, ref, gain, mask, config)
    assert loss.tolist() == pytest.approx(slow_loss(new, old, ref, gain, mask, config), abs=1e-12)
    assert (kl >= 0).all()


@pytest.mark.parametrize(
    ("ratio", "gain", "slope"),
    [
        (1.0, 1.0, -1.0),  # inside: the gradient of -ratio * gain by the log-probability
        (1.5, 1.0, 0.0),  # good, and already more likely than the clip: no push
        (0.5, 1.0, -0.5),  # good, and less likely: pushed up
        (0.5, -1.0, 0.0),  # bad, and already less likely: no push
        (1.5, -1.0, 1.5),  # bad, and more likely: pushed down
        (1.0, 0.0, 0.0),
    ],
)
def test_the_clipped_gradient_is_that_of_the_case_by_hand(ratio: float, gain: float, slope: float) -> None:
    new = torch.tensor([[math.log(ratio)]], dtype=torch.float64, requires_grad=True)
    old, mask = torch.zeros(1, 1).double(), torch.ones(1, 1).double()
    loss, _ = clipped_loss(new, old, None, torch.tensor([gain]).double(), mask, GRPOConfig(kl=0.0))
    loss.sum().backward()
    assert float(new.grad) == pytest.approx(slope, abs=1e-12)


def test_tokens_after_the_end_do_not_change_loss_or_gradient() -> None:
    new = torch.randn(2, 5, generator=torch.Generator().manual_seed(1)).double().requires_grad_()
    mask = torch.tensor([[1, 1, 0, 0, 0], [1, 1, 1, 1, 1]]).double()
    old = new.detach() - 0.05
    loss, _ = clipped_loss(new, old, old, torch.tensor([1.0, -1.0]).double(), mask, GRPOConfig(kl=0.1))
    loss.sum().backward()
    assert not new.grad[0, 2:].any()
    assert new.grad[1].all()


CONVERSATIONS: list[list[Message]] = [[{"role": "user", "content": text}] for text in ("oak", "iron", "glass gate")]


def make_grpo(policy: Policy, reward: Any, **config: Any) -> GRPO:
    options = {"group_size": 4, "groups_per_step": 2, "kl": 0.0, "max_new_tokens": 6, **config}
    return GRPO(policy, single_turns(CONVERSATIONS, reward), 3, seed=0, config=GRPOConfig(**options))


def weights(policy: Policy) -> dict[str, Any]:
    return {name: value.detach().clone() for name, value in policy.trainable().items()}


def test_equal_rewards_leave_the_weights_alone(tiny_start: Path) -> None:
    policy = Policy.load(tiny_start)
    before = weights(policy)
    _, groups = make_grpo(policy, lambda row, replies: [0.5] * len(replies)).step(0)
    metrics = group_metrics(groups)
    assert metrics["no_signal"] == 1.0
    assert metrics["reward_spread"] == 0.0
    assert all(torch.equal(value, before[name]) for name, value in weights(policy).items())


def test_a_step_makes_rewarded_replies_more_likely(tiny_start: Path) -> None:
    policy = Policy.load(tiny_start)
    grpo = make_grpo(policy, lambda row, replies: [float(len(set(r.text))) for r in replies], learning_rate=1e-3)
    _, groups = grpo.step(0)
    samples = [sample for group in groups for sample in group.samples]
    gains = advantages(np.array([group.rewards for group in groups])).reshape(-1)
    with torch.no_grad():
        now, mask = policy.logprobs([s.prompt_ids for s in samples], [s.token_ids for s in samples])
    moved = now.sum(-1).numpy() - np.array([sum(s.logprobs) for s in samples])
    assert float((moved * gains / mask.sum(-1).numpy()).sum()) > 0


def test_accumulated_gradients_equal_one_pass(tiny_start: Path) -> None:
    found = []
    for micro_batch in (8, 3):
        policy = Policy.load(tiny_start)
        grpo = make_grpo(policy, lambda row, replies: [0.0] * len(replies), micro_batch=8)
        samples = policy.sample([[5, 6]] * 8, max_new_tokens=6, generator=torch.Generator().manual_seed(0))
        grpo.config = grpo.config.model_copy(update={"micro_batch": micro_batch})
        grpo._update(samples, np.linspace(-1, 1, 8))
        found.append({name: value.grad.clone() for name, value in policy.trainable().items()})
    assert all(torch.allclose(found[0][name], found[1][name], atol=1e-6) for name in found[0])


def test_missing_rewards_are_counted_and_left_out(tiny_start: Path) -> None:
    def reward(row: int, replies: list[Completion]) -> list[float | None]:
        return [None, *(float(number) for number in range(len(replies) - 1))]

    _, groups = make_grpo(Policy.load(tiny_start), reward).step(0)
    metrics = group_metrics(groups)
    assert metrics["missing_rewards"] == 0.25
    assert metrics["reward"] == 1.0
    assert all(math.isnan(group.rewards[0]) for group in groups)


def test_a_step_without_any_reward_changes_no_weights(tiny_start: Path) -> None:
    policy = Policy.load(tiny_start)
    before = weights(policy)
    _, groups = make_grpo(policy, lambda row, replies: [None] * len(replies)).step(0)
    metrics = group_metrics(groups)
    assert math.isnan(metrics["reward"])
    assert metrics["missing_rewards"] == 1.0
    assert all(torch.equal(value, before[name]) for name, value in weights(policy).items())


def test_a_nan_loss_does_not_reach_the_weights(tiny_start: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = Policy.load(tiny_start)
    before = weights(policy)
    grpo = make_grpo(policy, lambda row, replies: [1.0, 0.0, 0.0, 0.0])
    honest = policy.logprobs
    monkeypatch.setattr(policy, "logprobs", lambda *a, **k: (honest(*a, **k)[0] * math.nan, honest(*a, **k)[1]))
    metrics, _ = grpo.step(0)
    assert metrics["skipped_updates"] == 1.0
    assert all(torch.equal(value, before[name]) for name, value in weights(policy).items())


def test_each_experience_is_used_once_per_epoch(policy: Policy) -> None:
    grpo = make_grpo(policy, lambda row, replies: [0.0] * len(replies))
    rows = [row for step in range(3) for row in grpo.rows(step)]
    assert sorted(rows[:3]) == sorted(rows[3:]) == [0, 1, 2]


def test_each_epoch_has_a_new_order_that_the_seed_decides(policy: Policy) -> None:
    def epochs(seed: int) -> list[list[int]]:
        config = GRPOConfig(group_size=2, groups_per_step=20, kl=0.0)
        play = single_turns([CONVERSATIONS[0]] * 20, lambda row, replies: [0.0] * len(replies))
        grpo = GRPO(policy, play, 20, seed=seed, config=config)
        return [grpo.rows(step) for step in range(3)]

    first, again, other = epochs(0), epochs(0), epochs(1)
    assert all(sorted(order) == list(range(20)) for order in first)
    assert len({tuple(order) for order in [*first, *other]}) == 6
    assert again == first


def test_a_group_of_one_is_refused(policy: Policy) -> None:
    with pytest.raises(ConfigError, match="group_size must be at least 2, got 1"):
        make_grpo(policy, lambda row, replies: [0.0], group_size=1)


def test_a_kl_weight_without_a_reference_is_refused(policy: Policy) -> None:
    with pytest.raises(ConfigError, match="A KL weight needs a reference"):
        make_grpo(policy, lambda row, replies: [0.0], kl=0.1)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")  # peft calls it
def test_the_adapters_reference_is_its_base(tiny_start: Path) -> None:
    policy = Policy.load(tiny_start, lora_rank=2)
    assert set(weights(policy)) == {name for name in weights(policy) if "lora_" in name}
    reward = lambda row, replies: [float(number) for number in range(len(replies))]  # noqa: E731
    grpo = make_grpo(policy, reward, kl=0.1, learning_rate=1e-2)
    first, _ = grpo.step(0)
    second, _ = grpo.step(1)
    assert first["kl"] == pytest.approx(0.0, abs=1e-6)
    assert second["kl"] > 1e-4


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")  # peft calls it
@pytest.mark.parametrize("lora_rank", [None, 2])
def test_trained_weights_stay_float32_with_bfloat16_arithmetic(tiny_start: Path, lora_rank: int | None) -> None:
    """A weight near 1 cannot move by 3e-6 in bfloat16: its steps are 4e-3."""
    policy = Policy.load(tiny_start, lora_rank=lora_rank, dtype="bfloat16")
    reference = None if lora_rank else Policy.load(tiny_start, dtype="bfloat16", frozen=True)
    before = weights(policy)
    assert {value.dtype for value in before.values()} == {torch.float32}
    reward = lambda row, replies: [float(number) for number in range(len(replies))]  # noqa: E731
    config = GRPOConfig(group_size=4, groups_per_step=2, max_new_tokens=6, kl=0.01)
    metrics, _ = GRPO(policy, single_turns(CONVERSATIONS, reward), 2, seed=0, config=config, reference=reference).step(
        0
    )
    assert metrics["skipped_updates"] == 0.0
    assert any(not torch.equal(value, before[name]) for name, value in weights(policy).items())


def test_a_turn_is_worth_its_reward_and_those_of_the_later_turns(policy: Policy) -> None:
    asked: list[list[str]] = []

    def play(start: int, size: int) -> Any:
        replies: Any = [None] * size
        for turn in range(3):
            asked.append([f"{start} {turn}" for _ in replies])
            replies = yield [[{"role": "user", "content": text}] for text in asked[-1]]
        return [[1.0, 0.0], [2.0, 0.0], [4.0, None]]

    grpo = GRPO(policy, play, 2, seed=0, config=GRPOConfig(group_size=2, groups_per_step=2, kl=0.0, max_new_tokens=3))
    _, groups = grpo.step(0)
    assert [group.turn for group in groups] == [0, 1, 2] * 2
    assert [group.rewards[0] for group in groups[:3]] == [7.0, 6.0, 4.0]
    assert all(math.isnan(group.rewards[1]) for group in groups)
    shown = [conversation[0]["content"] for group in groups for conversation in group.conversations]
    assert sorted(shown) == sorted(text for turn in asked for text in turn)
    assert group_metrics(groups)["reward"] == 7.0
