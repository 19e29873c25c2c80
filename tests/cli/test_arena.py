"""`metagym arena`, through the front door."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metagym.cli import arena
from metagym.errors import ConfigError
from metagym.spending import Budget
from tests.arena.conftest import write_preset
from tests.cli.test_evaluation import invoke

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
