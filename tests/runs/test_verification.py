"""Verification: a record is what really happens when its commands are executed again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from metagym.budget import Budget
from metagym.cli import app
from metagym.errors import BudgetExceededError
from metagym.models import OpenAIChatModel
from metagym.runs import LOG, Manifest, RunFolder
from metagym.runs.running import run_experiment
from metagym.runs.verification import first_difference, verify_run
from metagym.testing import FakeOpenAIServer, ServerReply, ServerRequest
from metagym.types import Observation, StopReason
from tests.conftest import make_step, make_trajectory


@pytest.fixture
def demo_run(tmp_path: Path) -> Path:
    manifest = Manifest(env_id="MetaGym/Gates-v0", env_options={"actor": "demo"}, reflector="demo", seed=3, num_steps=4)
    run_experiment(manifest, tmp_path / "run")
    return tmp_path / "run"


def test_a_run_repeats_itself(demo_run: Path) -> None:
    report = verify_run(demo_run)
    assert (report.num_episodes, report.num_skipped, report.differences) == (20, 0, ())
    assert report.num_steps == sum(len(item.steps) for item in RunFolder.open(demo_run).trajectories)


@pytest.mark.parametrize(
    ("field", "was", "forged"),
    [("observation", "The oak gate opens", "The oak gate yields"), ("score", '"score":0.0', '"score":1.0')],
)
def test_a_forged_record_is_found_with_its_place(demo_run: Path, field: str, was: str, forged: str) -> None:
    log = demo_run / LOG
    log.write_text(log.read_text().replace(was, forged, 1))
    (difference,) = verify_run(demo_run).differences
    assert difference.field in (field, "final_observation")
    shown = CliRunner().invoke(app, ["verify", str(demo_run)])
    assert shown.exit_code == 1
    assert "1 differ" in shown.output


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("final_observation", None),
        ("stop_reason", StopReason.STEP_LIMIT),
        ("stop_detail", "dusk"),
        ("success", False),
        ("score", 0.5),
        ("error", "the road is closed"),
    ],
)
def test_a_difference_in_any_field_of_the_end_is_found(field: str, change: object) -> None:
    recorded = make_trajectory(steps=(make_step(), make_step()), final_observation=Observation(text="The end."))
    again = recorded.model_copy(update={field: change})
    difference = first_difference(recorded, again)
    assert difference is not None
    assert (difference.field, difference.step) == (field, 1)
    assert (difference.recorded, difference.again) == (str(getattr(recorded, field)), str(change))
    assert first_difference(recorded, recorded) is None


def test_a_step_more_or_less_is_found() -> None:
    one, two = (make_trajectory(steps=(make_step(),) * number) for number in (1, 2))
    for recorded, again in ((one, two), (two, one)):
        difference = first_difference(recorded, again.model_copy(update={"episode": recorded.episode}))
        assert difference is not None
        assert difference.field == "number of steps"


def test_invalid_actions_and_overflows_repeat_and_no_model_is_called(tmp_path: Path) -> None:
    def respond(request: ServerRequest) -> str | ServerReply:
        turn = sum(message["role"] == "assistant" for message in request.messages)
        said = str([message["content"] for message in request.messages])
        turn += 2 if "'dance' is not" in said else "holds no line" in said  # what was not executed is not sent back
        if turn == 4:
            return ServerReply("This model's maximum context length is 7 tokens.", status=400)
        return ("Action: knock", "I know not what to do.", "Action: dance", "Action: push")[turn]

    with FakeOpenAIServer(respond) as server:
        actor = {"model": "m", "base_url": server.base_url}
        options = {"actor": actor, "episodes_per_step": 2}
        manifest = Manifest(env_id="MetaGym/Gates-v0", env_options=options, reflector="fixed", seed=0, num_steps=2)
        result = run_experiment(manifest, tmp_path / "run")
        asked = len(server.requests)
        assert verify_run(tmp_path / "run").differences == ()
        assert len(server.requests) == asked
    assert {item.stop_reason.value for step in result.history for item in step.trajectories} == {"context overflow"}


def test_failed_episodes_are_skipped_and_counted(demo_run: Path) -> None:
    log = demo_run / LOG
    first, *rest = log.read_text().splitlines(keepends=True)
    line = json.loads(first)
    line["record"].update(stop_reason="error", score=None, error="down")
    log.write_text(json.dumps(line) + "\n" + "".join(rest))
    report = verify_run(demo_run)
    assert (report.num_episodes, report.num_skipped) == (19, 1)


def test_a_model_needs_no_key_to_be_verified(demo_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenAIChatModel, "__init__", lambda *args, **kwargs: pytest.fail("a model was made"))
    assert verify_run(demo_run).differences == ()


def test_a_run_that_was_resumed_with_a_larger_budget_is_verified(tmp_path: Path) -> None:
    options = {"actor": "demo", "budget": {"episodes": 10}}
    manifest = Manifest(env_id="MetaGym/Gates-v0", env_options=options, reflector="demo", seed=3, num_steps=4)
    with pytest.raises(BudgetExceededError):
        run_experiment(manifest, tmp_path / "run")
    run_experiment(manifest, tmp_path / "run", resume=True, budget=Budget(episodes=100))
    report = verify_run(tmp_path / "run")
    assert (report.num_episodes, report.differences) == (20, ())
