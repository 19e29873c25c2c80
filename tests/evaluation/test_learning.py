"""Evaluations that learn within a budget: never passed, the same in every arm, apart from what measuring takes."""

from __future__ import annotations

import importlib.util
import itertools
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metagym.actor import ChatActor
from metagym.budget import Budget, BudgetUse
from metagym.env import MetaEnv
from metagym.envs.gates.demo import GatesDemoReflector
from metagym.envs.gates.meta import GatesMetaEnv
from metagym.errors import BudgetExceededError, LeakError
from metagym.evaluation import EvaluationConfig, EvaluationReport, evaluate
from metagym.evaluation.arena.run import make_entrants
from metagym.evaluation.planned_use import plan
from metagym.evaluation.preset import PresetEnvironment
from metagym.evaluation.store import read_report
from metagym.evaluation.variance import what_it_buys
from metagym.optimizers import BestOfN, InTurn
from metagym.optimizers.meta_loop import OptimizationResult, optimize
from metagym.reflectors import ReflectorSpec, method_names
from metagym.runs import Learned, Measurement, MemoryStore, Role, RunFolder
from metagym.testing import FakeChatModel, ServerRequest
from metagym.types import MetaStep, Reflection, Trajectory
from tests.conftest import MakeGates, Serve
from tests.evaluation.planted import leaker

CONFIG = EvaluationConfig(
    families=("law-0007", "law-0500"),
    num_steps=3,
    episodes_per_step=2,
    num_seeds=2,
    num_validation=3,
    num_test=4,
    learning_budget=Budget(episodes=6),
)
NAMES = [*method_names(), "best_of_n(ict)", *(["gepa"] if importlib.util.find_spec("gepa") else [])]


def within(**limits: Any) -> EvaluationConfig:
    return CONFIG.model_copy(update={"learning_budget": Budget(**limits)})


def scores_of(report: EvaluationReport) -> list[Any]:
    return [(item.key, item.prompt, item.task_ids, item.scores) for item in report.tests]


@settings(max_examples=40)
@given(
    name=st.sampled_from(NAMES),
    episodes=st.none() | st.integers(0, 30),
    calls=st.none() | st.integers(0, 80),
    tokens=st.none() | st.integers(0, 60_000),
    seed=st.integers(0, 3),
)
def test_no_method_ever_passes_its_budget(
    name: str, episodes: int | None, calls: int | None, tokens: int | None, seed: int
) -> None:
    """Counted apart from the ledger: what the actor's model was asked, and what was played."""
    if name == "gepa" and episodes is None:
        episodes = 20
    model = FakeChatModel(["Action: knock", "Action: push", "Action: pull"])
    model.max_reply_tokens = 50  # type: ignore[attr-defined]
    played: list[Trajectory] = []
    env = GatesMetaEnv(ChatActor(model), families=["law-0007"], episodes_per_step=2, max_steps=4)
    env.on_episode = played.append
    entrant = next(item for item in make_entrants([name], model={"model": "demo"}, num_steps=3) if item.name == name)
    budget = Budget(episodes=episodes, calls=calls, tokens=tokens)
    env.reset(seed=seed)
    found = entrant.optimizer(env, entrant.reflector, budget=budget)
    env.close()
    actor, reflector = (env.ledger.spent(role=role).usage for role in ("actor", "reflector"))
    asked = [item for item in played if item.score is not None]
    assert sum(item.usage.num_calls for item in played) <= len(model.calls) == actor.num_calls
    num_tokens = sum(usage.prompt_tokens + usage.completion_tokens for usage in (actor, reflector))
    for limit, taken in (
        (episodes, len(asked)),
        (calls, len(model.calls) + reflector.num_calls),
        (tokens, num_tokens),
    ):
        assert limit is None or taken <= limit
    assert found.last_prompt
    assert list(found.outlays) == sorted(found.outlays, key=lambda item: (item.episodes, item.calls))


def test_learning_and_measuring_stand_on_separate_accounts(make_gates: MakeGates) -> None:
    model = FakeChatModel(["Action: knock"])
    model.max_reply_tokens = 50  # type: ignore[attr-defined]
    env = make_gates(ChatActor(model), max_steps=2)
    report = evaluate(env, GatesDemoReflector(), config=CONFIG)
    learning, measuring = (env.ledger.spent(purpose=item).usage for item in ("learning", "measurement"))  # type: ignore[arg-type]
    assert [item.total.episodes for item in report.learned] == [6] * 4
    assert sum(item.total.calls for item in report.learned) == learning.num_calls == report.usage["learning"].num_calls
    assert measuring == report.usage["measuring"]
    assert measuring.num_calls > learning.num_calls
    assert env.ledger.num_episodes > 24


@pytest.mark.parametrize("episodes", [4, 20])
def test_plans_and_sizes_count_the_episodes_of_the_budget(make_gates: MakeGates, tmp_path: Path, episodes: int) -> None:
    """A method with rollouts of its own plays more than its meta-steps; a small budget allows less."""
    (_, method) = make_entrants(["training_free_grpo_style"], model={"model": "demo"})
    config, loops = within(episodes=episodes), 4
    report = evaluate(make_gates(), method.reflector, config=config, path=tmp_path)
    assert report.learned[0].total.episodes <= episodes
    (planned,) = plan([(PresetEnvironment(id="MetaGym/Gates-v0", families=CONFIG.families), config)])
    with RunFolder.open(tmp_path) as run:
        assert run.num_episodes <= run.manifest.size[1] == planned.num_episodes
    assert planned.num_episodes == loops * (episodes + 4 * CONFIG.num_validation + 3 * CONFIG.num_test)
    assert what_it_buys(report)[0].num_episodes == planned.num_episodes


def test_a_measurement_is_not_refused_for_what_learning_may_take(make_gates: MakeGates) -> None:
    report = evaluate(make_gates(), GatesDemoReflector(), config=within(episodes=0))
    assert [item.total for item in report.learned] == [BudgetUse()] * 4
    assert report.num_missing == 0
    assert report.overall.last_gain is not None
    assert report.overall.last_gain.mean == 0.0


def test_the_plain_loop_with_enough_budget_is_the_evaluation_without_one(make_gates: MakeGates) -> None:
    free = CONFIG.model_copy(update={"learning_budget": None, "replay": False})
    plain = evaluate(make_gates(), GatesDemoReflector(), config=free)
    bounded = evaluate(make_gates(), GatesDemoReflector(), config=CONFIG)
    assert scores_of(bounded) == scores_of(plain)
    assert bounded.overall == plain.overall


def test_one_that_spends_its_budget_early_stops_and_keeps_its_prompt(make_gates: MakeGates, tmp_path: Path) -> None:
    report = evaluate(make_gates(), GatesDemoReflector(), config=within(episodes=5), path=tmp_path)
    assert {item.num_meta_steps for item in report.learned} == {2}
    assert all(item.stopped.startswith("The budget of 5 episodes leaves 1") for item in report.learned)
    with RunFolder.open(tmp_path) as run:
        for learned in run.all(Learned).values():
            measured = {
                item.index: item.prompt
                for item in run.all(Measurement).values()
                if (item.family, item.seed, item.role) == (*learned.key, Role.VALIDATION)
            }
            assert [measured[index] for index in range(4)] == [*learned.prompts, learned.prompts[-1]]
    assert [len(item.scores) for item in report.prompt_scores] == [4] * 4


def test_every_arm_learns_and_is_scored_on_the_same_tasks(make_gates: MakeGates, tmp_path: Path) -> None:
    optimizers = {"plain": InTurn(3), "best": BestOfN(n=2, num_steps=3), "mine": InTurn(3)}
    learned, tested = {}, {}
    for name, optimizer in optimizers.items():
        reflector: ReflectorSpec = (lambda history: "Walk.") if name == "mine" else GatesDemoReflector()
        evaluate(make_gates(), reflector, config=CONFIG, arm=name, path=tmp_path / name, optimizer=optimizer)
        with RunFolder.open(tmp_path / name) as run:
            learned[name] = {
                (item.episode.arm.split("/", 1)[1], item.episode.meta_step, item.task.digest)
                for item in run.episodes()
                if item.task.split == "train"
            }
            tested[name] = {
                (item.family, item.seed, item.task_ids) for item in run.all(Measurement).values() if "test" in item.role
            }
    assert learned["plain"] == learned["best"] == learned["mine"]
    assert tested["plain"] == tested["best"] == tested["mine"]
    assert max(Counter(digest for *_, digest in learned["plain"]).values()) <= 2  # once in each seed


def test_an_optimizer_of_ones_own_may_be_stopped_by_its_budget(make_gates: MakeGates) -> None:
    def mine(env: MetaEnv, reflector: ReflectorSpec, *, budget: Budget) -> OptimizationResult:
        return optimize(env, reflector, 10)

    report = evaluate(make_gates(), GatesDemoReflector(), config=CONFIG, optimizer=mine)
    plain = evaluate(make_gates(), GatesDemoReflector(), config=CONFIG)
    assert [item.total.episodes for item in report.learned] == [6] * 4
    # The prompt before the one that could not be played counts.
    assert [item.prompts[-1] for item in report.learned] == [item.prompts[-2] for item in plain.learned]


def test_a_budget_of_the_run_stops_the_evaluation_and_a_larger_one_goes_on(
    make_gates: MakeGates, tmp_path: Path
) -> None:
    with pytest.raises(BudgetExceededError, match="The budget of 15 episodes"):
        evaluate(make_gates(budget={"episodes": 15}), GatesDemoReflector(), config=CONFIG, path=tmp_path / "cut")
    report = evaluate(make_gates(), GatesDemoReflector(), config=CONFIG, path=tmp_path / "cut")
    whole = evaluate(make_gates(), GatesDemoReflector(), config=CONFIG, path=tmp_path / "whole")
    assert report == whole == read_report(tmp_path / "cut")


def test_one_that_plays_what_measures_is_stopped(make_gates: MakeGates) -> None:
    def cheat(env: MetaEnv, reflector: ReflectorSpec, *, budget: Budget) -> OptimizationResult:
        return optimize(env, leaker(env), 2)

    with pytest.raises(LeakError, match="Expected the learner to see none of the test tasks"):
        evaluate(make_gates(), GatesDemoReflector(), config=within(episodes=10_000), optimizer=cheat)


def test_what_is_learned_side_by_side_is_what_is_learned_in_turn(make_gates: MakeGates, serve: Serve) -> None:
    def answer(request: ServerRequest) -> str:
        way = ("knock", "push", "pull")[request.body["seed"] % 3]
        is_reflector = "IMPROVED PROMPT" in request.messages[0]["content"]
        return f"ANALYSIS: So.\nIMPROVED PROMPT: Say {way}." if is_reflector else f"Action: {way}"

    model = {"model": "m", "base_url": serve(answer).base_url}
    reports = [
        evaluate(make_gates(model, max_steps=2, max_concurrency=at_once), model, config=CONFIG) for at_once in (2, 64)
    ]
    update: dict[str, Any] = {"measurement": {}}
    assert reports[0].model_copy(update=update) == reports[1].model_copy(update=update)
    assert all(item.total.calls for item in reports[0].learned)


def test_if_a_record_cannot_be_kept_learning_stops(
    make_gates: MakeGates, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*arguments: object) -> None:
        raise OSError("no space left")

    model = {"model": "m", "base_url": serve(lambda request: "ANALYSIS: So.\nIMPROVED PROMPT: Push.").base_url}
    env = make_gates(model, max_steps=2, max_concurrency=4, allow_bad_batches=True)
    monkeypatch.setattr(MemoryStore, "put", full_disk)
    with pytest.raises(OSError, match="no space left") as raised:
        evaluate(env, model, config=CONFIG)
    begun = env.ledger.num_episodes
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("metagym_")]
    assert raised.value.__traceback__ is not None  # it holds the frames: nothing was left to a collector
    assert env.ledger.num_episodes == begun


def test_a_method_that_does_not_repeat_itself_keeps_its_own_reflections_when_it_is_resumed(
    make_gates: MakeGates, tmp_path: Path
) -> None:
    numbers = itertools.count()

    def writes(history: Sequence[MetaStep]) -> str:
        number = next(numbers)
        if number == 2:
            raise KeyboardInterrupt
        return f"Walk {number} steps."

    config = CONFIG.model_copy(update={"families": ("law-0007",), "num_seeds": 1})
    with pytest.raises(KeyboardInterrupt):
        evaluate(make_gates(), writes, config=config, path=tmp_path)
    evaluate(make_gates(), writes, config=config, path=tmp_path)
    with RunFolder.open(tmp_path) as run:
        (learned,) = run.all(Learned).values()
        written = [(item.prompt, item.problem) for item in run.all(Reflection).values()]
    assert written == [(prompt, "") for prompt in learned.prompts[1:]]
