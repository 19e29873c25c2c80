"""An evaluation that is continued, in this process or another one, pays for no call twice and books none twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metagym.actor import ChatActor
from metagym.budget import Budget
from metagym.envs.gates.meta import GatesMetaEnv
from metagym.errors import BudgetExceededError
from metagym.evaluation import constant_prompt, evaluate
from metagym.evaluation.campaign import run_campaign
from metagym.evaluation.config import EvaluationConfig
from metagym.evaluation.preset import load_preset
from metagym.runs.folder import load_ledger
from metagym.testing import FakeChatModel
from tests.conftest import MakeGates

CONFIG = EvaluationConfig(
    families=("law-0007",), num_steps=1, num_seeds=2, num_validation=2, num_test=2, episodes_per_step=2
)


def knocking() -> FakeChatModel:
    return FakeChatModel(["Thought: x\nAction: knock"])


def num_booked(env: GatesMetaEnv) -> int:
    return env.ledger.spent().usage.num_calls


def test_a_second_evaluation_in_one_process_books_nothing_again(make_gates: MakeGates, tmp_path: Path) -> None:
    model = knocking()
    env = make_gates(ChatActor(model), max_steps=3)
    for _ in range(3):
        evaluate(env, "fixed", config=CONFIG, path=tmp_path)
        assert num_booked(env) == len(model.calls) == 24 * 3


def test_a_budget_that_is_raised_in_the_same_process_lets_the_evaluation_finish(
    make_gates: MakeGates, tmp_path: Path
) -> None:
    model = knocking()
    env = make_gates(ChatActor(model), max_steps=3, budget={"calls": 40})
    with pytest.raises(BudgetExceededError):
        evaluate(env, "fixed", config=CONFIG, path=tmp_path)
    env.ledger.budget = Budget(calls=24 * 3)
    evaluate(env, "fixed", config=CONFIG, path=tmp_path)
    assert num_booked(env) == len(model.calls) == 24 * 3


def test_scoring_the_candidates_for_a_constant_prompt_is_paid_once(
    make_gates: MakeGates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    for is_stopped in (True, False):
        with monkeypatch.context() as patch:
            if is_stopped:
                patch.setattr(constant_prompt, "write_whole", lambda *content: pytest.fail("stopped"))
            model = knocking()
            env = make_gates(ChatActor(model), max_steps=3)
            try:
                constant_prompt.tune_constant_prompt(
                    env, lambda history: "Hurry.", train_families=["law-0001"], config=CONFIG, path=tmp_path
                )
            except pytest.fail.Exception:
                assert is_stopped
            asked.append(len(model.calls))
    assert asked[0] == load_ledger(tmp_path).spent().usage.num_calls
    assert asked[1] == 0


def test_a_budget_counts_the_calls_of_arms_that_come_later(tmp_path: Path) -> None:
    model = knocking()
    update = {"num_seeds": 2, "num_steps": 1, "num_validation": 2, "num_test": 2}
    preset = load_preset("ict-small").model_copy(update=update)

    def run(*controls: str, budget: int) -> None:
        about: dict[str, Any] = {"actor": ChatActor(model), "reflector": "fixed", "path": tmp_path}
        run_campaign(preset, controls=controls, budget={"calls": budget}, **about)

    run("no reflection", budget=10_000)
    used = len(model.calls)
    with pytest.raises(BudgetExceededError):
        run("same again", "no reflection", budget=used + 10)
    assert len(model.calls) == used + 10
