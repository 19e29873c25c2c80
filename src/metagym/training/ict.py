"""The ICT protocol on held-out families, for the policy under training; the protocol is `metagym.evaluation`'s."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from metagym.env import MetaEnv
from metagym.errors import ConfigError
from metagym.evaluation import EvaluationConfig, evaluate
from metagym.training.data import Experience, Render, chat_messages
from metagym.training.grpo import GRPOConfig
from metagym.training.loop import Evaluate
from metagym.training.policy import Policy
from metagym.training.serving import LocalChatModel, LocalReflector

FIGURES = ("gain", "last_gain", "test_first", "test_chosen", "test_last")
"""What goes into the metrics, each a mean over seeds with its interval (`_low`, `_high`); the report has all."""


def evaluate_by_ict(
    env: MetaEnv,
    experience: Sequence[Experience],
    config: EvaluationConfig,
    path: str | Path,
    *,
    grpo: GRPOConfig,
    render: Render = chat_messages,
) -> Evaluate:
    """Return what evaluates the policy by the protocol in `config`, into the run folder `path/NNNNNN` of each step.

    The policy reflects as it does in training: the same rendering, length and temperature. Two of the
    folders are compared like any other evaluations: `metagym compare RUN/evaluations/000000 ...000025`.

    Raises:
        ConfigError: `config` names no families, or one that the experience is from.
    """
    if not config.families:
        raise ConfigError("Expected the held-out families to evaluate on, got none: name them (families).")
    families = env.task_set.expand_families(config.families)
    trained_on = {item.task.family for each in experience for item in each.meta_step.trajectories}
    if shared := sorted(trained_on & set(families)):
        raise ConfigError(f"Expected held-out families, got {shared}, which the experience is from. Name others.")

    def evaluate_policy(policy: Policy, step: int) -> dict[str, float]:
        model = LocalChatModel(policy, max_new_tokens=grpo.max_new_tokens, temperature=grpo.temperature)
        place = Path(path) / f"{step:06d}"
        report = evaluate(env, LocalReflector(model, render), config=config, arm=f"after {step} steps", path=place)
        found: dict[str, float] = {}
        for name in FIGURES:
            estimate = getattr(report.overall, name)
            if estimate is not None:
                ends = {"": estimate.mean, "_low": estimate.low, "_high": estimate.high}
                found |= {name + end: value for end, value in ends.items() if value is not None}
        return found

    return evaluate_policy
