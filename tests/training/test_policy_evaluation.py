"""The ICT protocol for the policy under training: held-out families only, stored like any evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.train
pytest.importorskip("torch", reason="needs metagym[train]")
pytest.importorskip("transformers", reason="needs metagym[train]")

from metagym.errors import ConfigError  # noqa: E402
from metagym.evaluation import EvaluationConfig, evaluate  # noqa: E402
from metagym.evaluation.comparison import compare  # noqa: E402
from metagym.evaluation.store import read_report  # noqa: E402
from metagym.training.experience import to_experience  # noqa: E402
from metagym.training.grpo import GRPOConfig  # noqa: E402
from metagym.training.local_reflector import LocalChatModel, LocalReflector, evaluate_by_ict  # noqa: E402
from metagym.training.policy import Policy  # noqa: E402
from metagym.training_demo.gates_problem import compact_messages  # noqa: E402
from metagym.types import digest  # noqa: E402
from tests.conftest import MakeGates  # noqa: E402

GRPO = GRPOConfig(max_new_tokens=24)
CONFIG = EvaluationConfig(
    families=("law-0042", "law-0043"), num_steps=2, episodes_per_step=2, num_seeds=2, num_validation=3, num_test=3
)


def experience_of(env: Any) -> Any:
    return to_experience([env.replay([env.default_prompt], ["law-0007/1"])], fingerprint=digest(env.fingerprint))


def test_the_metrics_are_the_figures_of_the_protocol(tiny_start: Path, make_gates: MakeGates, tmp_path: Path) -> None:
    env, policy = make_gates(), Policy.load(tiny_start)
    evaluated = evaluate_by_ict(evaluate, env, experience_of(env), CONFIG, tmp_path, grpo=GRPO, render=compact_messages)
    found = evaluated(policy, 0)
    reflector = LocalReflector(LocalChatModel(policy, max_new_tokens=24), compact_messages)
    report = evaluate(env, reflector, config=CONFIG, arm="after 0 steps")
    for name in ("gain", "last_gain", "test_first", "test_chosen", "test_last"):
        estimate = getattr(report.overall, name)
        assert (found[name], found.get(f"{name}_low")) == (estimate.mean, estimate.low)
    assert read_report(tmp_path / "000000") == report


def test_two_evaluations_of_a_training_are_compared(tiny_start: Path, make_gates: MakeGates, tmp_path: Path) -> None:
    env, policy = make_gates(), Policy.load(tiny_start)
    evaluated = evaluate_by_ict(evaluate, env, experience_of(env), CONFIG, tmp_path, grpo=GRPO, render=compact_messages)
    evaluated(policy, 0)
    next(iter(policy.trainable().values())).data.zero_()
    evaluated(policy, 5)
    (comparison,) = compare([read_report(tmp_path / name) for name in ("000005", "000000")])
    assert comparison.difference.num == 2


@pytest.mark.parametrize(
    ("families", "message"),
    [((), "Expected held-out families to evaluate on, got none"), (("law-0007",), "which the experience is from")],
)
def test_families_that_are_not_held_out_are_refused(
    make_gates: MakeGates, tmp_path: Path, families: tuple[str, ...], message: str
) -> None:
    env = make_gates()
    with pytest.raises(ConfigError, match=message):
        evaluate_by_ict(evaluate, env, experience_of(env), EvaluationConfig(families=families), tmp_path, grpo=GRPO)
