"""A reflection that the log lost: what was played stays valid, and nothing is paid for under another prompt."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metagym.envs.gates.meta import GatesMetaEnv
from metagym.evaluation import EvaluationConfig, evaluate
from metagym.runs import LOG, Measurement, Role, RunFolder
from metagym.runs.folder import REPLIES
from metagym.runs.repair import repair_run
from metagym.runs.running import run_experiment
from metagym.testing import FakeOpenAIServer, ServerReply, ServerRequest
from metagym.types import Reflection
from tests.conftest import Serve
from tests.runs.conftest import manifest


def never_twice_alike() -> Callable[[ServerRequest], ServerReply]:
    """Return a server whose reflections differ each time."""
    numbers = itertools.count()

    def respond(request: ServerRequest) -> ServerReply:
        if "IMPROVED PROMPT" in request.messages[0]["content"]:
            return ServerReply(f"ANALYSIS: hard.\nIMPROVED PROMPT: Walk {next(numbers)} steps.")
        return ServerReply("Thought: x\nAction: push")

    return respond


def is_reflection(line: bytes, index: int) -> bool:
    content = json.loads(line)
    return bool(content["kind"] == "reflection" and content["record"]["index"] == index)


def lose_reflection(path: Path, index: int) -> None:
    """Spoil its line, and repair the run."""
    lines = (path / LOG).read_bytes().splitlines(keepends=True)
    spoiled = [line[:60] + b"\n" if is_reflection(line, index) else line for line in lines]
    assert spoiled != lines
    (path / LOG).write_bytes(b"".join(spoiled))


def validated_prompts(path: Path) -> dict[tuple[int, int], str]:
    """Return the prompts that the validation tasks were played under, by seed and number."""
    with RunFolder.open(path) as run:
        measured = run.all(Measurement).values()
    return {(item.seed, item.index): item.prompt for item in measured if item.role is Role.VALIDATION}


@pytest.fixture
def played(tmp_path: Path, serve: Serve) -> tuple[Path, Any, FakeOpenAIServer]:
    """A finished run of three meta-steps, whose actor and reflector are one paid model."""
    server = serve(never_twice_alike())
    model = {"model": "m", "base_url": server.base_url}
    options = {"actor": model, "episodes_per_step": 2, "allow_bad_batches": True, "max_steps": 3}
    about = manifest(env_options=options, reflector=model, num_steps=3)
    run_experiment(about, tmp_path / "run")
    return tmp_path / "run", about, server


def test_the_prompt_that_was_played_is_kept_and_one_reply_is_paid_for(
    played: tuple[Path, Any, FakeOpenAIServer], caplog: pytest.LogCaptureFixture
) -> None:
    path, about, server = played
    with RunFolder.open(path) as run:
        before = run.history
    (path / REPLIES).unlink()
    lose_reflection(path, 0)
    (lost,) = repair_run(path).removed
    assert lost.lost == (
        "a reflection: it is made again; if the next meta-step was played, its prompt is kept. No reply is recorded: "
        "models are asked, and paid, again"
    )
    num_calls = len(server.requests)
    run_experiment(about, path, resume=True)
    assert len(server.requests) == num_calls + 1
    with RunFolder.open(path) as run:
        after = run.history
    assert [(item.prompt, item.trajectories) for item in after] == [(item.prompt, item.trajectories) for item in before]
    reflection = after[1].reflection
    assert reflection is not None
    assert reflection.prompt == after[1].prompt
    assert reflection.problem.startswith("The log had lost the reflection on meta-step 0.")
    assert "the prompt that meta-step 1 was played under is kept" in caplog.text
    assert after[2].reflection == before[2].reflection


def test_a_recorded_reply_makes_the_same_reflection_again(played: tuple[Path, Any, FakeOpenAIServer]) -> None:
    path, about, server = played
    with RunFolder.open(path) as run:
        before = run.history
    lose_reflection(path, 1)
    (lost,) = repair_run(path).removed
    assert "replies are recorded: models are asked, and paid, for others only" in lost.lost
    num_calls = len(server.requests)
    run_experiment(about, path, resume=True)
    assert len(server.requests) == num_calls
    with RunFolder.open(path) as run:
        assert run.history == before


@pytest.mark.parametrize("index", [0, 1])
def test_an_evaluation_measures_the_prompts_that_it_reports(tmp_path: Path, serve: Serve, index: int) -> None:
    """Reflection 0 led to a meta-step that was played, and keeps its prompt; the last one led to none."""
    server = serve(never_twice_alike())
    model = {"model": "m", "base_url": server.base_url}
    config = EvaluationConfig(families=("law-0007",), num_steps=2, episodes_per_step=2, num_seeds=2, num_validation=2,
                              num_test=2)  # fmt: skip
    with GatesMetaEnv(model, max_steps=2, allow_bad_batches=True) as env:
        evaluate(env, model, config=config, path=tmp_path)
        before = validated_prompts(tmp_path)
        (tmp_path / REPLIES).unlink()
        lose_reflection(tmp_path, index)
        repair_run(tmp_path)
        num_calls = len(server.requests)
        evaluate(env, model, config=config, path=tmp_path)
        num_paid = len(server.requests) - num_calls
    after = validated_prompts(tmp_path)
    with RunFolder.open(tmp_path) as run:
        kept = run.all(Reflection)
    for seed in range(2):
        reflection = kept[f"reflector/law-0007/{seed}", index]
        assert after[seed, index + 1] == reflection.prompt
    if index == 0:
        assert num_paid == 2, "one reflection for each seed"
        assert after == before
    else:
        assert num_paid > 2, "the new last prompts are measured"
        assert after != before
