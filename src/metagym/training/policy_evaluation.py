"""Evaluate the policy under training by the ICT protocol, on families that it is not trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from metagym.env import MetaEnv
from metagym.errors import ConfigError
from metagym.training.experience import Experience, Render, chat_messages
from metagym.training.grpo import GRPOConfig
from metagym.training.local_reflector import LocalChatModel, LocalReflector
from metagym.training.policy import Policy
from metagym.training.trainer import Evaluate

FIGURES = ("gain", "last_gain", "test_first", "test_chosen", "test_last")
"""The figures that become metrics: means over seeds with their intervals (`_low`, `_high`). The report has all."""


class ICTProtocol(Protocol):
    """What is read here of a `metagym.evaluation.EvaluationConfig`."""

    @property
    def families(self) -> Sequence[str]:
        """The held-out families."""


def evaluate_by_ict(
    evaluate: Callable[..., Any],
    env: MetaEnv,
    experience: Sequence[Experience],
    config: ICTProtocol,
    path: str | Path,
    *,
    grpo: GRPOConfig,
    render: Render = chat_messages,
) -> Evaluate:
    """Return a function that evaluates the policy by the protocol in `config`, for `train(evaluate=)`.

    `evaluate` is `metagym.evaluation.evaluate`: it is passed in, as training is a layer that does not know it. Each
    evaluation is a run folder, `path/NNNNNN` after NNNNNN steps; two of them are compared like any other:
    `metagym compare RUN/evaluations/000000 ...000025`. The policy reflects as in training: the same rendering,
    reply length and temperature.

    Raises:
        ConfigError: `config` names no families, or a family that the experience is from.
    """
    if not config.families:
        raise ConfigError("Expected held-out families to evaluate on, got none. Name them: families=[...].")
    trained_on = {item.task.family for each in experience for item in each.meta_step.trajectories}
    if shared := sorted(trained_on & set(env.task_set.expand_families(config.families))):
        raise ConfigError(
            f"Expected held-out families, got {shared}, which the experience is from. Name other families."
        )

    def evaluate_policy(policy: Policy, step: int) -> dict[str, float]:
        model = LocalChatModel(policy, max_new_tokens=grpo.max_new_tokens, temperature=grpo.temperature)
        folder = Path(path) / f"{step:06d}"
        report = evaluate(env, LocalReflector(model, render), config=config, arm=f"after {step} steps", path=folder)
        found: dict[str, float] = {}
        for name in FIGURES:
            estimate = getattr(report.overall, name)
            if estimate is not None:
                ends = {"": estimate.mean, "_low": estimate.low, "_high": estimate.high}
                found |= {name + end: value for end, value in ends.items() if value is not None}
        return found

    return evaluate_policy
