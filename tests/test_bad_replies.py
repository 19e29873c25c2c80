"""A large share of bad replies is said, with the remedy: in the log, in `metagym show` and at the top of the report."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from metagym.actor import ChatActor
from metagym.bad_replies import REMEDIES, ReplyCounts, common_problem, kind_of, unused_reflections
from metagym.cli.application import app
from metagym.report import make_report
from metagym.runs import RunFolder
from metagym.testing import FakeChatModel
from metagym.types import Action, Completion, Reflection, Step, StopReason, Trajectory
from tests.conftest import MakeGates, make_meta_step, make_step, make_trajectory
from tests.runs.conftest import manifest

GOOD = Completion(text="Action: push")
BAD = {
    "cut off": Completion(text="Action: pu", finish_reason="length"),
    "stopped by the content filter": Completion(text="Action", finish_reason="content_filter"),
    "empty": Completion(text=" \n"),
    "without a valid action": Completion(text="Action: shout"),
}


def step(completion: Completion | None, *, is_valid: bool = False) -> Step:
    fields = dict(make_step())
    return Step(**{**fields, "action": Action(text="push", completion=completion), "is_valid": is_valid})


def episode(*completions: Completion, **fields: Any) -> Trajectory:
    return make_trajectory([step(item, is_valid=item is GOOD) for item in completions], **fields)


@pytest.mark.parametrize("kind", BAD)
def test_a_share_above_a_fifth_is_a_warning_with_the_remedy(kind: str) -> None:
    assert kind_of(step(BAD[kind])) == kind
    assert ReplyCounts([episode(BAD[kind], *[GOOD] * 4)]).warnings == ()
    (warning,) = ReplyCounts([episode(BAD[kind], *[GOOD] * 4), episode(BAD[kind], GOOD, GOOD)]).warnings
    assert warning == f"25 % of the replies (2 of 8) were {kind}: {REMEDIES[kind]}."


@pytest.mark.parametrize(
    ("reason", "said"),
    [(StopReason.CONTEXT_OVERFLOW, "too long for the model's context"), (StopReason.CONTENT_FILTER, "content filter")],
)
def test_a_share_of_episodes_that_ended_by_the_server_is_a_warning(reason: StopReason, said: str) -> None:
    assert ReplyCounts([episode(GOOD)] * 4 + [episode(GOOD, stop_reason=reason)]).warnings == ()
    (warning,) = ReplyCounts([episode(GOOD)] * 2 + [episode(GOOD, stop_reason=reason)]).warnings
    assert warning.startswith("33 % of the episodes (1 of 3) were ")
    assert said in warning


def test_each_kind_is_counted_once_and_several_may_be_said() -> None:
    found = ReplyCounts([episode(*BAD.values())]).warnings
    assert [warning.partition(" were ")[2].partition(":")[0] for warning in found] == list(BAD)


def test_a_reply_of_several_calls_is_one_reply() -> None:
    both = Completion(text="", tool_calls=("{}", "{}"))
    batch = [make_trajectory([step(both), step(None), step(both), step(None)])]
    assert ReplyCounts(batch).warnings[0].startswith("100 % of the replies (2 of 2) were without a valid action")
    assert common_problem(batch) == "no action was valid, as in the first: 'push'"


@pytest.mark.parametrize(
    "completion",
    [Completion(text="", tool_calls=("{}",)), Completion(text="Action: push", finish_reason="tool_calls"), None],
)
def test_a_call_of_a_tool_and_an_action_without_a_model_are_not_empty(completion: Completion | None) -> None:
    assert kind_of(step(completion, is_valid=True)) == ""


def test_episodes_that_failed_do_not_count_and_none_at_all_is_no_warning() -> None:
    assert ReplyCounts([episode(BAD["empty"], score=None)]).warnings == ()
    assert ReplyCounts().warnings == ()


def test_reflections_that_could_not_be_used_are_a_warning() -> None:
    fine, odd = Reflection(prompt="p"), Reflection(prompt="p", problem="The reply was empty; the old prompt was kept.")
    assert unused_reflections([]) == unused_reflections([fine] * 4 + [odd]) == ()
    (said,) = unused_reflections([fine, odd])
    assert said == f"50 % of the reflections (1 of 2) had a problem, such as: {odd.problem}"


def test_a_step_logs_the_warning(make_gates: MakeGates, caplog: pytest.LogCaptureFixture) -> None:
    cut = Completion(text="Thought: hm", finish_reason="length")
    model = FakeChatModel(lambda messages, call: cut if call.seed % 2 else GOOD)
    env = make_gates(ChatActor(model), episodes_per_step=6)
    env.reset(seed=0)
    with caplog.at_level(logging.WARNING):
        env.step("Walk.")
    assert "Meta-step 0: " in caplog.text
    assert "were cut off: raise max_tokens" in caplog.text


@pytest.fixture
def cut_off(tmp_path: Path) -> Path:
    """A run in which half of the replies were cut off."""
    trajectory = episode(BAD["cut off"], GOOD)
    with RunFolder.create(tmp_path / "cut", manifest(num_steps=1)) as run:
        run.record_episode(trajectory)
        run.put(0, make_meta_step([trajectory]))
        assert run.warnings
    return tmp_path / "cut"


def test_show_says_it_first_and_in_its_json(cut_off: Path) -> None:
    shown = CliRunner().invoke(app, ["show", str(cut_off)]).output
    assert shown.startswith("Warning: 50 % of the replies (1 of 2) were cut off: raise max_tokens")
    told = json.loads(CliRunner().invoke(app, ["show", str(cut_off), "--json"]).output)
    assert told["warnings"] == [*RunFolder.open(cut_off).warnings]


def test_the_report_says_it_at_the_top(cut_off: Path, tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    make_report([cut_off], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.index("50 % of the replies (1 of 2) were cut off") < page.index('<section class="part">')
