"""`metagym arena`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metagym.cli import console
from metagym.errors import BudgetExceededError
from metagym.testing import ServerRequest
from tests.cli.conftest import invoke
from tests.conftest import Serve
from tests.evaluation.conftest import write_preset

TINY = """
num_steps = 2
episodes_per_step = [2]
num_seeds = 2
num_validation = 2
num_test = 2

[[environments]]
id = "MetaGym/Gates-v0"
families = ["law-0007"]
options = { max_steps = 4 }
"""
SMALL = ("--preset", "small.toml", "--actor", "demo", "--control", "none")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console, "_width", 200)
    write_preset(tmp_path)


def test_it_prints_the_standings_and_the_same_command_prints_them_again() -> None:
    printed = invoke("arena", *SMALL, "ict", "best_of_n(ict)", "--out", "out")
    assert "PLUMBING ONLY. gates-v0-k2: 3 seeds, 2 families" in printed
    assert "are in out/gates-v0-k2" in printed
    assert "The report to look at: out/report.html" in printed or "Run: pip install 'jinja2" in printed
    written = (Path("out/gates-v0-k2/arena.json")).read_text()
    assert invoke("arena", *SMALL, "ict", "best_of_n(ict)", "--out", "out") == printed
    assert (Path("out/gates-v0-k2/arena.json")).read_text() == written


def test_json_and_compare_and_the_budget() -> None:
    asked = ("ict", "--out", "out", "--learning-budget", "episodes=4,tokens=50_000", "--json")
    printed = invoke("arena", *SMALL, *asked)
    (standings,) = json.loads(printed)
    assert standings["budget"] == {"tokens": 50_000, "calls": None, "cost": None, "episodes": 4}
    assert [row["arm"] for row in standings["rows"]] == ["fixed", "ict"]
    assert standings["rows"][1]["most"]["episodes"] == 4
    compared = invoke("compare", "out/gates-v0-k2/ict", "out/gates-v0-k2/fixed", "--endpoint", "last", "--json")
    assert json.loads(compared)[0]["second"] == "fixed"


@pytest.mark.slow
def test_models_are_ranked_within_a_budget_of_money(serve: Serve) -> None:
    def answer(request: ServerRequest) -> str:
        is_reflector = "IMPROVED PROMPT" in request.messages[0]["content"]
        return "ANALYSIS: So.\nIMPROVED PROMPT: Push." if is_reflector else "Action: push"

    server = serve(answer)
    Path("tiny.toml").write_text(TINY)
    model = {"model": "m", "base_url": server.base_url, "client": {"prices": {"prompt": 1.0, "completion": 2.0}}}
    Path("model.json").write_text(json.dumps(model))
    asked = ("--preset", "tiny.toml", "--actor", "model.json")
    printed = invoke("arena", *asked, "ict", "--control", "none", "--out", "out", "--learning-budget", "cost=0.02")
    assert "PLUMBING" not in printed
    assert "0.02 money, 4 episodes" in printed
    (standings,) = [json.loads(path.read_text()) for path in Path("out").glob("*/arena.json")]
    assert not standings["scripted"]
    assert {row["arm"] for row in standings["rows"]} == {"fixed", "ict"}
    for row in standings["rows"]:
        assert 0 < row["outlay"]["cost"] <= row["most"]["cost"] <= 0.02
        assert row["outlay"]["calls"] > 4
    assert "cost" in {curve["axis"] for curve in standings["curves"]}
    # The ledgers know what was paid: the same command again asks for no reply a second time.
    num_requests = len(server.requests)
    invoke("arena", *asked, "ict", "--control", "none", "--out", "out", "--learning-budget", "cost=0.02")
    assert len(server.requests) == num_requests


def test_a_budget_for_everything_stops_the_arena_and_it_resumes_without(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BudgetExceededError, match="The budget of 2 calls"):
        invoke("arena", *SMALL, "ict", "--out", "out", "--budget", "calls=2")
    assert not Path("out/gates-v0-k2/arena.json").exists()
    assert "PLUMBING" in invoke("arena", *SMALL, "ict", "--out", "out")
