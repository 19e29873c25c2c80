"""An evaluation that is continued, in this process or another one, pays for no call twice and books none twice."""

from __future__ import annotations

import contextlib
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
from metagym.runs import Manifest, RunFolder
from metagym.runs.earlier_use import load_ledger
from metagym.runs.running import run_experiment
from metagym.testing import FakeChatModel
from metagym.types import Trajectory
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


def test_a_budget_in_episodes_holds_for_all_processes_together(tmp_path: Path) -> None:
    with GatesMetaEnv("demo") as env:
        evaluate(env, "demo", config=CONFIG)
        played = env.ledger.used.episodes
    for limit in (10, 10, 20, 20, played, played):
        with GatesMetaEnv("demo", budget={"episodes": limit}) as env:
            with contextlib.nullcontext() if limit == played else pytest.raises(BudgetExceededError):
                evaluate(env, "demo", config=CONFIG, path=tmp_path)
            with RunFolder.open(tmp_path) as run:
                assert run.num_episodes == env.ledger.used.episodes <= limit


def test_a_run_whose_reflections_play_keeps_its_budget_in_episodes(tmp_path: Path) -> None:
    method = {"method": "training_free_grpo_style", "model": "demo"}
    options = {"actor": "demo", "families": ["law-0007"], "episodes_per_step": 5}
    manifest = Manifest(env_id="MetaGym/Gates-v0", env_options=options, reflector=method, seed=0, num_steps=6)
    for is_resumed in (False, True, True):
        with pytest.raises(BudgetExceededError):
            run_experiment(manifest, tmp_path, resume=is_resumed, budget=Budget(episodes=30))
        with RunFolder.open(tmp_path) as run:
            assert run.num_episodes == 25  # the next 15 do not fit


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


def test_a_batch_that_was_interrupted_counts_each_episode_once(make_gates: MakeGates, tmp_path: Path) -> None:
    def interrupt(_: Trajectory) -> None:
        if run.num_episodes == 3:
            raise RuntimeError("no space left on device")

    env = make_gates(episodes_per_step=5, max_concurrency=1)
    with RunFolder.create(tmp_path, Manifest(env_id="x", reflector=None, seed=0, num_steps=1)) as run:
        env.record_to(run)
        env.on_episode = interrupt
        env.reset(seed=0)
        with pytest.raises(RuntimeError, match="no space left"):
            env.step("Walk.")
        assert env.ledger.used.episodes == run.num_episodes == 3
        env.on_episode = None
        env.step("Walk.")
        assert env.ledger.used.episodes == run.num_episodes == 5
