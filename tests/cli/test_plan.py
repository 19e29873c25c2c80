"""The plan before the money: what is played, what it may cost, and the question before a large one."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from metagym import cli
from metagym.evaluation.planned_use import plan
from metagym.evaluation.preset import load_preset, preset_for, with_fields
from tests.cli.conftest import Metagym
from tests.conftest import Serve

GATES = ("evaluate", "MetaGym/Gates-v0", "--families", "law-0007", "--seeds", 1, "--steps", 1)
SMALL = ("--option", "num_test=2", "--option", "num_validation=2", "--option", "episodes_per_step=2")
PAID = ("--actor", "gpt-4o-mini")


@pytest.fixture
def terminal(command: Metagym, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A terminal, in which a user declines; the questions that were asked."""
    asked: list[str] = []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(cli.errors, "_force_terminal", True)
    monkeypatch.setattr("metagym.cli.plan.confirm", lambda text, **options: asked.append(text))
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    return asked


def test_ict_is_48800_episodes_and_somebody_is_told(command: Metagym) -> None:
    done = command("evaluate", "ict", "--option", "control=none", "--actor", "demo", "--dry-run")
    assert done.code == 0, done.err
    assert "in all:\n  at most 48,800 episodes, 1,200 reflections" in done.err
    assert not Path("runs").exists()


def test_an_environment_is_evaluated_without_a_file(command: Metagym) -> None:
    done = command(*GATES, *SMALL, "--actor", "demo", "--option", "control=none")
    assert done.code == 0, done.err
    assert "plan: MetaGym/Gates-v0, 2 episodes a meta-step, 1 family, 1 seed\n" in done.err
    assert (Path("runs/evaluate-gates-v0/gates-v0-k2/demo") / "report.json").exists()


@pytest.mark.slow
def test_the_plan_is_an_upper_bound_of_what_is_played(command: Metagym) -> None:
    planned = json.loads(command(*GATES, *SMALL, "--actor", "demo", "--dry-run", "--json").out)[0]
    command(*GATES, *SMALL, "--actor", "demo", "--out", "out")
    played = sum(len(log.read_text().split('"kind":"episode"')) - 1 for log in Path("out").rglob("log.jsonl"))
    assert 0 < played <= planned["num_episodes"]
    assert planned["num_arms"] == 3


def test_the_plan_of_a_set_with_too_few_questions_says_what_to_lower(command: Metagym) -> None:
    rows = "".join(f'{{"question": "What is {n} + {n}?", "answer": "{2 * n}"}}\n' for n in range(100))
    Path("questions.jsonl").write_text(rows)
    own = ("evaluate", "MetaGym/Questions-v0", "--option", "rows=questions.jsonl", "--actor", "demo", "--dry-run")
    refused = command(*own)
    assert refused.code == 1
    assert re.search(r"too few test tasks .*: it asks for 50, and there are \d+\. Lower num_test", refused.err)
    assert command(*own, "--option", "num_test=15", "--option", "num_validation=10").code == 0
    assert not Path("runs").exists()


def test_calls_tokens_and_cost_are_those_of_random_episodes(command: Metagym) -> None:
    model = {"model": "m", "base_url": "http://localhost:1/v1", "client": {"prices": {"prompt": 1, "completion": 2}}}
    Path("model.json").write_text(json.dumps(model))
    (item,) = json.loads(command(*GATES, *SMALL, "--actor", "model.json", "--dry-run", "--json").out)
    load = item["load"]
    assert item["num_episodes"] < load["num_calls"] < 25 * item["num_episodes"]
    assert item["cost"] == pytest.approx((load["prompt_tokens"] + 2 * load["completion_tokens"]) / 1e6)


def test_a_dry_run_of_a_replay_starts_nothing(command: Metagym, serve: Serve) -> None:
    model = {"model": "m", "base_url": serve("Action: knock").base_url}
    model |= {"client": {"prices": {"prompt": 1, "completion": 1}}}
    Path("model.json").write_text(json.dumps(model))
    run = ("run", "MetaGym/Gates-v0", "--actor", "model.json", "--reflector", "fixed", "-n", 1, "--out")
    assert command(*run, "first").code == 0
    done = command(*run, "second", "--option", "replay=first/replies.sqlite", "--dry-run")
    assert (done.code, done.out) == (0, "")
    assert "at most 5 episodes" in done.err
    assert "cost" not in done.err  # replies that are replayed are free
    assert not Path("second").exists()


def test_a_paid_server_without_a_budget_is_said(command: Metagym) -> None:
    done = command(*GATES, *SMALL, *PAID, "--dry-run")
    assert "No budget is set, and gpt-4o-mini may cost money: --budget tokens=N or cost=X" in done.err
    assert "No budget" not in command(*GATES, *SMALL, *PAID, "--budget", "tokens=9", "--dry-run").err
    for free in ("demo", "m@http://localhost:1/v1", "local"):
        assert "No budget" not in command(*GATES, *SMALL, "--actor", free, "--dry-run").err


def test_a_large_plan_is_asked_about_in_a_terminal(command: Metagym, terminal: list[str]) -> None:
    done = command("evaluate", "MetaGym/Gates-v0", "--families", "law-0007", *PAID)
    assert (done.code, terminal) == (1, ["Start?"])
    assert "Nothing was started." in done.err
    assert not Path("runs").exists()


@pytest.mark.parametrize("how", ["a pipe", "--yes", "a small plan", "a script plays"])
def test_otherwise_nothing_is_asked(
    command: Metagym, terminal: list[str], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if how == "a pipe":
        monkeypatch.setattr(sys.stdin, "isatty", lambda: False)
    monkeypatch.setattr("metagym.evaluation.campaign.run_campaign", lambda *given, **more: [])
    families = ("evaluate", "MetaGym/Gates-v0", "--families", "law-0007")
    done = {
        "a pipe": lambda: command(*families, *PAID),
        "--yes": lambda: command(*families, *PAID, "--yes"),
        "a small plan": lambda: command(*GATES, *SMALL, *PAID),
        "a script plays": lambda: command(*families, "--actor", "demo"),
    }[how]()
    assert (done.code, terminal) == (0, [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("evaluate", "MetaGym/Gates-v0", "--actor", "demo"), "has 1296 families, such as 'law-0000': name those"),
        (("evaluate", "ict-smal", "--actor", "demo"), "Unknown preset or environment 'ict-smal'"),
        (("evaluate", "ict", "--families", "a", "--actor", "demo"), "has several environments"),
        ((*GATES, "--option", "num_tests=3", "--actor", "demo"), "Unknown option 'num_tests'.*"),
        ((*GATES, "--option", "num_test=0", "--actor", "demo"), "'num_test' got 0"),
        ((*GATES, "--control", "none of these", "--actor", "demo", "--dry-run"), "Unknown control 'none of these'"),
        ((*GATES, *2 * ("--control", "same again"), "--actor", "demo", "--dry-run"), "Expected each control once"),
        (("arena", "--control", "nosuch", "--actor", "demo", "--dry-run"), "Unknown control 'nosuch'"),
        (("arena", "icct", "--actor", "demo", "--dry-run"), "'icct'"),
        (("arena", "best_of_n(icct)", "--actor", "demo", "--dry-run"), "'icct'"),
        (("run", GATES[1], "--actor", "nomod:x", "--reflector", "fixed", "--dry-run"), "nomod"),
        (("run", GATES[1], "--actor", "demo", "--reflector", "nomod:x", "--dry-run"), "nomod"),
        ((*GATES, "--actor", "demo", "--reflector", "nomod:x:demo", "--dry-run"), "nomod"),
        (("estimate",), "Expected an environment or --preset NAME, and not both"),
    ],
)
def test_what_cannot_be_planned_is_refused(command: Metagym, arguments: tuple[Any, ...], message: str) -> None:
    done = command(*arguments)
    assert done.code == 1
    assert message.removesuffix(".*") in done.err


def test_dry_run_is_refused_by_a_command_without_a_plan(command: Metagym) -> None:
    done = command("--dry-run", "envs")
    assert done.code == 2
    assert "--dry-run is for run, evaluate, arena" in done.err


def test_estimate_prints_the_plan_of_a_preset(command: Metagym) -> None:
    done = command("estimate", "--preset", "ict-small", "--prices", "prompt=1,completion=2")
    assert done.code == 0, done.err
    assert "at most 35,388 episodes" in done.out
    assert "in the currency of the prices" in done.out


def test_estimate_refuses_a_preset_with_an_unknown_control(command: Metagym) -> None:
    text = command("presets", "show", "ict-small").out
    Path("mine.toml").write_text(text.replace('"no reflection"', '"no reflexion"'))
    done = command("estimate", "--preset", "mine.toml")
    assert (done.code, "Unknown control 'no reflexion'" in done.err) == (1, True)


def test_a_control_without_reflection_asks_no_reflector() -> None:
    preset = with_fields(preset_for("MetaGym/Gates-v0", families=["law-0007"]), {"num_steps": 2, "num_seeds": 3})
    with_one, with_none = (plan(preset.configs(), controls=names)[0] for names in (("no reflection",), ()))
    assert with_one.num_reflections == with_none.num_reflections == 6
    assert with_one.num_episodes == 2 * with_none.num_episodes


def test_presets_are_listed_and_printed_as_toml(command: Metagym) -> None:
    listed = json.loads(command("presets", "list", "--json").out)
    assert {row["name"]: row["num_episodes"] for row in listed}["ict"] >= 48_800
    Path("mine.toml").write_text(command("presets", "show", "ict-small").out)
    mine = load_preset("mine.toml")
    assert mine.model_copy(update={"name": "ict-small"}) == load_preset("ict-small")
