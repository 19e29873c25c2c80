"""`metagym arena`, through the front door."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metagym.budget import Budget
from metagym.cli import arena
from metagym.errors import BudgetExceededError, ConfigError
from metagym.testing import ServerRequest
from tests.cli.test_evaluation import invoke
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
SMALL = ("--preset", "small.toml", "--actor", "demo", "--model", "demo", "--no-controls")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(arena.console, "_width", 200)
    write_preset(tmp_path)


def test_it_prints_the_standings_and_the_same_command_prints_them_again() -> None:
    told = invoke("arena", *SMALL, "--reflectors", "ict,best_of_n(ict)", "--out", "out")
    assert "PLUMBING ONLY. gates-v0-k2: 3 seeds, 2 families" in told
    assert "lie in out/gates-v0-k2" in told
    assert "The report to look at: out/report.html" in told or "metagym[report]" in told
    written = (Path("out/gates-v0-k2/arena.json")).read_text()
    assert invoke("arena", *SMALL, "--reflectors", "ict,best_of_n(ict)", "--out", "out") == told
    assert (Path("out/gates-v0-k2/arena.json")).read_text() == written


def test_json_and_compare_and_the_budget() -> None:
    asked = ("--reflectors", "ict", "--out", "out", "--budget", "episodes=4,tokens=50_000", "--json")
    told = invoke("arena", *SMALL, *asked)
    (standings,) = json.loads(told)
    assert standings["budget"] == {"tokens": 50_000, "calls": None, "cost": None, "episodes": 4}
    assert [row["arm"] for row in standings["rows"]] == ["fixed", "ict"]
    assert standings["rows"][1]["most"]["episodes"] == 4
    compared = invoke("compare", "out/gates-v0-k2/ict", "out/gates-v0-k2/fixed", "--endpoint", "last", "--json")
    assert json.loads(compared)[0]["second"] == "fixed"


def test_a_measurement_wants_an_explicit_actor() -> None:
    for arguments in ((), ("--model", "demo")):
        with pytest.raises(ConfigError, match="No actor is named, and a measurement plays no stand-in unasked"):
            invoke("arena", "--preset", "small.toml", *arguments)


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        (None, None),
        ("episodes=50", Budget(episodes=50)),
        ("tokens=20_000, cost=1.5", Budget(tokens=20_000, cost=1.5)),
        ("calls = 7", Budget(calls=7)),
    ],
)
def test_a_budget_is_names_and_numbers(text: str | None, budget: Budget | None) -> None:
    assert arena.read_limits(text) == budget


@pytest.mark.parametrize("text", ["50", "", "episode=5", "episodes=many", "episodes=-1"])
def test_what_is_no_budget_is_told(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--budget expects NAME=NUMBER .*tokens, calls, cost, episodes; got"):
        arena.read_limits(text)


def test_names_stand_between_commas() -> None:
    with pytest.raises(ConfigError, match="--reflectors expects `all`, or names with commas"):
        invoke("arena", *SMALL, "--reflectors", "ict,,fixed")


def test_models_are_ranked_within_a_budget_of_money(serve: Serve) -> None:
    def answer(request: ServerRequest) -> str:
        is_reflector = "IMPROVED PROMPT" in request.messages[0]["content"]
        return "ANALYSIS: So.\nIMPROVED PROMPT: Push." if is_reflector else "Action: push"

    server = serve(answer)
    Path("tiny.toml").write_text(TINY)
    client = json.dumps({"prices": {"prompt": 1.0, "completion": 2.0}})
    asked = ("--preset", "tiny.toml", "--model", "m", "--base-url", server.base_url, "--client", client)
    told = invoke("arena", *asked, "--reflectors", "ict", "--no-controls", "--out", "out", "--budget", "cost=0.02")
    assert "PLUMBING" not in told
    assert "0.02 money, 4 episodes" in told
    (standings,) = [json.loads(path.read_text()) for path in Path("out").glob("*/arena.json")]
    assert not standings["scripted"]
    assert {row["arm"] for row in standings["rows"]} == {"fixed", "ict"}
    for row in standings["rows"]:
        assert 0 < row["outlay"]["cost"] <= row["most"]["cost"] <= 0.02
        assert row["outlay"]["calls"] > 4
    assert "cost" in {curve["axis"] for curve in standings["curves"]}
    # What was paid is what the ledgers say: no reply is asked for twice when the command is given again.
    num_requests = len(server.requests)
    invoke("arena", *asked, "--reflectors", "ict", "--no-controls", "--out", "out", "--budget", "cost=0.02")
    assert len(server.requests) == num_requests


def test_a_limit_for_all_stops_the_arena_and_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BudgetExceededError, match="The budget of 2 calls"):
        invoke("arena", *SMALL, "--reflectors", "ict", "--out", "out", "--max-calls", "2")
    assert not Path("out/gates-v0-k2/arena.json").exists()
    assert "PLUMBING" in invoke("arena", *SMALL, "--reflectors", "ict", "--out", "out")
