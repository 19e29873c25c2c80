"""Whole runs against servers and budgets that give out: they stop, say why, keep what was played, and go on."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Any

import pytest

from metagym.budget import Budget
from metagym.errors import BudgetExceededError, EpisodesFailedError, ModelUnavailableError
from metagym.optimizers.meta_loop import OptimizationResult
from metagym.runs import Manifest, RunFolder
from metagym.runs.running import run_experiment
from metagym.testing import FAULTS, FINAL_FAULTS, FakeOpenAIServer, ServerReply, ServerRequest, misbehave
from metagym.types import Reflection
from tests.conftest import MakeGates, Serve

WAYS = ("knock", "push", "pull", "sing", "whistle", "wait")
QUICK = {"first_pause_s": 0.001, "max_pause_s": 0.01, "breaker_failures": 5, "breaker_s": 0.0}


def respond(request: ServerRequest) -> str:
    """Play and reflect as the seed says, so that every prompt and every episode differs."""
    seed = request.body["seed"]
    if "IMPROVED PROMPT" in request.messages[0]["content"]:
        return f"ANALYSIS: I think.\nIMPROVED PROMPT: Rule {seed}: {WAYS[seed % 6]} first."
    return f"Thought: let me try.\nAction: {WAYS[seed % 6]}"


def manifest(server: FakeOpenAIServer, num_steps: int = 4, **options: Any) -> Manifest:
    model = {"model": "m", "base_url": server.base_url}
    options = {"episodes_per_step": 3, "actor": model, **options}
    return Manifest(env_id="MetaGym/Gates-v0", env_options=options, reflector=model, seed=3, num_steps=num_steps)


def test_a_run_stopped_by_its_budget_resumes_with_a_larger_one_and_ends_as_an_unlimited_run(
    serve: Serve, tmp_path: Path
) -> None:
    server = serve(respond)
    unbounded = run_experiment(manifest(server), tmp_path / "unbounded")
    num_calls = len(server.requests)
    for stops in range(10):
        budget = Budget(calls=17 * (stops + 1))
        try:
            result = run_experiment(manifest(server), tmp_path / "cut", resume=stops > 0, budget=budget)
            break
        except BudgetExceededError:
            pass
        assert len(server.requests) - num_calls <= budget.calls  # type: ignore[operator]
    assert stops >= 3
    assert result == unbounded
    assert len(server.requests) == 2 * num_calls  # no reply was paid twice


def test_a_budget_in_tokens_is_never_exceeded(serve: Serve, tmp_path: Path) -> None:
    server = serve(respond)
    with pytest.raises(BudgetExceededError, match="The budget of 20,000 tokens leaves"):
        run_experiment(manifest(server, budget={"tokens": 20_000}), tmp_path / "run")
    taken = sum(item.prompt_tokens + item.completion_tokens for item in server.delivered)
    assert 5_000 < taken <= 20_000


def test_episodes_played_before_the_budget_ran_out_are_in_the_folder(serve: Serve, tmp_path: Path) -> None:
    server = serve(respond)
    with pytest.raises(BudgetExceededError) as raised:
        run_experiment(manifest(server, budget={"calls": 45}), tmp_path / "run")
    with RunFolder.open(tmp_path / "run") as run:
        assert run.history == raised.value.history
        calls_kept = sum(item.usage.num_calls for item in run.trajectories)
    assert raised.value.meta_step is not None
    assert calls_kept + len(run.all(Reflection)) == 45 == len(server.requests)


def test_a_step_stopped_by_its_budget_plays_only_the_missing_episodes(serve: Serve, make_gates: MakeGates) -> None:
    server = serve(respond)
    actor = {"model": "m", "base_url": server.base_url}
    whole, cut = (make_gates(actor, episodes_per_step=4, max_concurrency=1) for _ in range(2))
    _, info = whole.reset(seed=5)
    expected, *_ = whole.step(info["default_prompt"])
    num_calls = len(server.requests)
    cut.reset(seed=5)
    cut.ledger.budget = Budget(calls=num_calls - 1)
    with pytest.raises(BudgetExceededError) as raised:
        cut.step(info["default_prompt"])
    assert raised.value.meta_step is not None
    assert [score is None for score in raised.value.meta_step.scores] == [False, False, False, True]
    assert raised.value.meta_step.trajectories[-1].steps  # what was played of it is kept
    cut.ledger.budget = Budget()
    trajectories, *_ = cut.step(info["default_prompt"])
    assert trajectories == expected
    assert len(server.requests) - num_calls < 2 * num_calls


def test_a_server_that_is_down_stops_the_batch_within_the_breakers_bound(serve: Serve, make_gates: MakeGates) -> None:
    server = serve(ServerReply("out of order", status=500))
    actor = {"model": "m", "base_url": server.base_url, "client": QUICK}
    env = make_gates(actor, episodes_per_step=200, max_concurrency=4, max_failure_rate=0.99)
    env.reset(seed=0)
    with pytest.raises(EpisodesFailedError, match=r"same error \d+ times in a row") as raised:
        env.step("Be brave.")
    assert len(server.requests) <= 5 + 4
    assert raised.value.meta_step is not None
    assert all("out of order" in item.error for item in raised.value.meta_step.trajectories)


def test_a_wrong_key_ends_a_batch_at_once(serve: Serve, make_gates: MakeGates) -> None:
    server = serve(ServerReply("Incorrect API key", status=401))
    env = make_gates({"model": "m", "base_url": server.base_url}, episodes_per_step=200, max_concurrency=4)
    env.reset(seed=0)
    with pytest.raises(EpisodesFailedError, match="Check the key: set OPENAI_API_KEY"):
        env.step("Be brave.")
    assert len(server.requests) <= 4


@pytest.mark.timeout(30)
def test_a_silent_server_ends_in_an_error_and_not_in_a_hang(serve: Serve, make_gates: MakeGates) -> None:
    server = serve(ServerReply(delay_s=math.inf))
    actor = {"model": "m", "base_url": server.base_url, "timeout_s": 0.5, "max_retries": 8, "client": QUICK}
    env = make_gates(actor, episodes_per_step=50, max_concurrency=8)
    env.reset(seed=0)
    with pytest.raises(EpisodesFailedError, match=r"did not answer within 0\.5 s"):
        env.step("Be brave.")
    assert env.ledger.spent().num_unknown == len(server.requests)


def test_episodes_that_were_not_started_leave_no_record(serve: Serve, make_gates: MakeGates) -> None:
    played: list[Any] = []
    server = serve(ServerReply("no", status=401))
    env = make_gates({"model": "m", "base_url": server.base_url}, episodes_per_step=9, max_concurrency=1)
    env.on_episode = played.append
    env.reset(seed=0)
    with pytest.raises(EpisodesFailedError, match="9 of 9 episodes failed"):
        env.step("Be brave.")
    assert len(played) == 1


def test_an_unreachable_reflector_stops_the_run_and_keeps_it(serve: Serve, tmp_path: Path) -> None:
    refused: list[bool] = [True]

    def moody(request: ServerRequest) -> str | ServerReply:
        if refused[0] and "IMPROVED PROMPT" in request.messages[0]["content"]:
            return ServerReply("no such model", status=404)
        return respond(request)

    server = serve(moody)
    expected = run_experiment(manifest(serve(respond)), tmp_path / "expected")
    with pytest.raises(ModelUnavailableError, match="Check the model's name"):
        run_experiment(manifest(server), tmp_path / "run")
    refused[0] = False
    result: OptimizationResult = run_experiment(manifest(server), tmp_path / "run", resume=True)
    assert result == expected


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("stream", [True, False])
def test_a_budget_is_never_exceeded_under_any_fault_or_lie_of_the_server(make_gates: MakeGates, stream: bool) -> None:
    # A huge reply is longer than the token limit that the server was given: no client can foresee it.
    faults = {name: 0.02 for name in FAULTS if name not in FINAL_FAULTS and name != "huge reply"}
    with FakeOpenAIServer(misbehave(respond, faults, seed=2)) as server:
        actor: dict[str, Any] = {
            "model": "m",
            "base_url": server.base_url,
            "timeout_s": 1.0,
            "client": {**QUICK, "stream": stream},
        }
        actor["sampling"] = {"max_tokens": 500}
        env = make_gates(actor, episodes_per_step=16, max_failure_rate=0.99, budget={"tokens": 150_000})
        env.reset(seed=0)

        def play() -> None:
            for _ in range(1_000):
                with contextlib.suppress(EpisodesFailedError):
                    env.step("Be brave.")

        with pytest.raises(BudgetExceededError, match="The budget of 150,000 tokens leaves"):
            play()
        delivered = sum(item.prompt_tokens + item.completion_tokens for item in server.delivered)
        spent = env.ledger.spent()
    assert 10_000 < delivered <= spent.max_tokens <= 150_000
    assert spent.usage.prompt_tokens + spent.usage.completion_tokens == delivered
