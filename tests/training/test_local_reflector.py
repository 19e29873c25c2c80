"""A checkpoint is a reflector; the ICT protocol evaluates the policy under training on held-out families only."""

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
from metagym.optimizers.meta_loop import optimize  # noqa: E402
from metagym.reflectors import make_reflector  # noqa: E402
from metagym.training.experience import Experience  # noqa: E402
from metagym.training.grpo import GRPOConfig  # noqa: E402
from metagym.training.local_reflector import (  # noqa: E402
    LocalChatModel,
    LocalReflector,
    evaluate_by_ict,
    load_reflector,
    weights_digest,
)
from metagym.training.policy import Policy  # noqa: E402
from metagym.training_demo.gates_problem import compact_messages  # noqa: E402
from tests.conftest import MakeGates  # noqa: E402
from tests.training.test_trainer import run  # noqa: E402

GRPO = GRPOConfig(max_new_tokens=24)
CONFIG = EvaluationConfig(
    families=("law-0042", "law-0043"), num_steps=2, episodes_per_step=2, num_seeds=2, num_validation=3, num_test=3
)


def test_the_metrics_are_the_figures_of_the_protocol(tiny_start: Path, make_gates: MakeGates, tmp_path: Path) -> None:
    env, policy = make_gates(), Policy.load(tiny_start)
    evaluated = evaluate_by_ict(
        evaluate, env, CONFIG, tmp_path, trained_on=["law-0007"], grpo=GRPO, render=compact_messages
    )
    found = evaluated(policy, 0)
    reflector = LocalReflector(LocalChatModel(policy, max_new_tokens=24), compact_messages)
    report = evaluate(env, reflector, config=CONFIG, arm="after 0 steps")
    for name in ("gain", "last_gain", "test_first", "test_chosen", "test_last"):
        estimate = getattr(report.overall, name)
        assert (found[name], found.get(f"{name}_low")) == (estimate.mean, estimate.low)
    assert read_report(tmp_path / "000000") == report


def test_two_evaluations_of_a_training_are_compared(tiny_start: Path, make_gates: MakeGates, tmp_path: Path) -> None:
    env, policy = make_gates(), Policy.load(tiny_start)
    evaluated = evaluate_by_ict(
        evaluate, env, CONFIG, tmp_path, trained_on=["law-0007"], grpo=GRPO, render=compact_messages
    )
    evaluated(policy, 0)
    next(iter(policy.trainable().values())).data.zero_()
    evaluated(policy, 5)
    (comparison,) = compare([read_report(tmp_path / name) for name in ("000005", "000000")])
    assert comparison.difference.num == 2


@pytest.mark.parametrize(
    ("families", "message"),
    [((), "Expected held-out families to evaluate on, got nothing"), (("law-0007",), "which the training is on")],
)
def test_families_that_are_not_held_out_are_refused(
    make_gates: MakeGates, tmp_path: Path, families: tuple[str, ...], message: str
) -> None:
    env = make_gates()
    with pytest.raises(ConfigError, match=message):
        evaluate_by_ict(
            evaluate, env, EvaluationConfig(families=families), tmp_path, trained_on=["law-0007"], grpo=GRPO
        )


def test_a_checkpoints_path_is_a_reflector(
    tiny_start: Path, experience: list[Experience], env: Any, tmp_path: Path
) -> None:
    last = run(tiny_start, experience, env, tmp_path, steps=1)
    reflector = make_reflector(str(last))
    assert isinstance(reflector, LocalReflector)
    assert reflector.fingerprint["model"]["sampling"] == {"max_new_tokens": GRPO.max_new_tokens, "temperature": 1.0}
    assert reflector.messages(experience[0].meta_step) == compact_messages(experience[0].meta_step)
    results = [optimize(env, make_reflector(str(last)), 2, seed=0) for _ in range(2)]
    assert results[0] == results[1]


def test_the_untrained_start_is_used_like_the_trained_one(
    tiny_start: Path, experience: list[Experience], env: Any, tmp_path: Path
) -> None:
    last = run(tiny_start, experience, env, tmp_path, steps=1)
    start, trained = (load_reflector(path).fingerprint for path in (tmp_path / "start", last))
    assert start["model"].pop("weights") == weights_digest(Policy.load(tiny_start))
    assert trained["model"].pop("weights") != weights_digest(Policy.load(tiny_start))
    assert start == trained


def test_a_broken_description_is_refused(tmp_path: Path) -> None:
    (tmp_path / "metagym.json").write_text("{}}")
    with pytest.raises(ConfigError, match="Expected the file that `metagym train` wrote at"):
        load_reflector(tmp_path)
    with pytest.raises(ConfigError, match="which is not a folder"):
        load_reflector(tmp_path / "nowhere")


def test_a_folder_without_a_model_is_no_reflector(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Expected a causal language model"):
        make_reflector(str(tmp_path))
