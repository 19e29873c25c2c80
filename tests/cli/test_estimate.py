"""`metagym estimate`: what a run will use, from a pilot without any model."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from metagym.runs import RunFolder
from metagym.runs.earlier_use import load_ledger
from tests.cli.conftest import Metagym
from tests.conftest import Serve
from tests.test_spending_limits import respond

GATES = ("estimate", "MetaGym/Gates-v0")
PRICES = ("--prices", "prompt=1,completion=2")


def test_it_says_what_a_run_uses_and_calls_no_model(command: Metagym, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise AssertionError("an estimate needs no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    done = command(*GATES, "--steps", 10, "--seeds", 5, *PRICES, "--effect", 0.1, "--sd", 0.2)
    assert done.code == 0, done.err
    assert re.search(r"actor, at most +│ 6,250 ", done.out)
    assert re.search(r"reflector +│ 50 ", done.out)
    assert "To find a difference of 0.1 with sd 0.2: 34 seeds" in done.out


def test_it_prints_json(command: Metagym) -> None:
    printed = json.loads(command(*GATES, "--effect", 0.1, *PRICES, "--json").out)
    assert set(printed["loads"]) == {"actor", "actor, at most", "reflector"}
    load = printed["loads"]["actor"]
    assert load["cost"] == pytest.approx((load["prompt_tokens"] + 2 * load["completion_tokens"]) / 1e6)
    assert printed["num_seeds_needed"] == 7


def test_it_takes_the_figures_of_an_earlier_run(serve: Serve, command: Metagym) -> None:
    server = serve(respond)
    options = ("--option", "episodes_per_step=2", "--steps", 3, "--out", "run")
    command("run", "MetaGym/Gates-v0", "--actor", f"m@{server.base_url}", *options)
    done = command(*GATES, *options[:4], "--seeds", 2, "--like", "run")
    assert re.search(rf"all, like run +│ {2 * len(server.requests)} ", done.out)


def test_an_earlier_run_is_priced_by_role(serve: Serve, command: Metagym) -> None:
    for name, price in (("cheap", 1), ("dear", 1_000)):
        model = {"model": name, "base_url": serve(respond).base_url}
        client = {"prices": {"prompt": price, "completion": price}}
        Path(f"{name}.json").write_text(json.dumps({**model, "client": client}), encoding="utf-8")
    options = ("--actor", "cheap.json", "--reflector", "dear.json", "--steps", 2, "--option", "episodes_per_step=2")
    command("run", "MetaGym/Gates-v0", *options, "--out", "run")
    estimate = json.loads(command(*GATES, *options, "--like", "run", "--json").out)
    assert estimate["loads"]["all, like run"]["cost"] == pytest.approx(load_ledger(Path("run")).spent().cost)


def test_an_earlier_evaluation_counts_by_its_episodes_and_reflections(serve: Serve, command: Metagym) -> None:
    server = serve(respond)
    fields = ("num_test=2", "num_validation=2", "episodes_per_step=2", "control=none")
    command(
        *("evaluate", "MetaGym/Gates-v0", "--families", "law-0007", "--seeds", 1, "--steps", 2, "--out", "out"),
        *("--actor", f"m@{server.base_url}", *(f"--option={field}" for field in fields)),
    )
    (arm,) = (file.parent for file in Path("out").glob("*/*/manifest.json"))
    rows = load_ledger(arm).rows().items()
    calls = {role: sum(item.usage.num_calls for key, item in rows if key[0] == role) for role in ("actor", "reflector")}
    wanted = 6 * calls["actor"] / RunFolder.open(arm).num_episodes + 3 * calls["reflector"] / 2
    estimate = json.loads(command(*GATES, "--option", "episodes_per_step=2", "-n", 3, "--like", arm, "--json").out)
    assert estimate["loads"][f"all, like {arm}"]["num_calls"] == pytest.approx(wanted)


def test_a_preset_like_an_earlier_run_is_priced_by_role(serve: Serve, command: Metagym) -> None:
    server = serve(respond)
    cheap = {"model": "m", "base_url": server.base_url, "client": {"prices": {"prompt": 1, "completion": 1}}}
    Path("cheap.json").write_text(json.dumps(cheap), encoding="utf-8")
    Path("dear.json").write_text(json.dumps(cheap | {"client": {"prices": {"prompt": 9, "completion": 9}}}), "utf-8")
    command("run", "MetaGym/Gates-v0", "--actor", "cheap.json", "-n", 1, "--out", "run")
    preset = ("estimate", "--preset", "ict-small", "--like", "run", "--actor", "cheap.json", "--json", "--reflector")
    (one,), (two,) = (json.loads(command(*preset, model).out) for model in ("cheap.json", "dear.json"))
    assert one["cost"] < two["cost"] < 9 * one["cost"]


def test_prices_and_reply_limits_come_from_the_models(command: Metagym) -> None:
    model = {"model": "m", "client": {"prices": {"prompt": 1.0, "completion": 2.0}}}
    Path("model.json").write_text(json.dumps(model), encoding="utf-8")
    plain = json.loads(command(*GATES, *PRICES, "--json").out)
    assert json.loads(command(*GATES, "--actor", "model.json", "--json").out) == plain
    short = json.loads(command(*GATES, "--actor", "model.json", "--sampling", "max_tokens=8", "--json").out)
    loads = plain["loads"]["actor"], short["loads"]["actor"]
    assert loads[0]["completion_tokens"] == 10 * loads[1]["completion_tokens"]


def test_it_names_the_limits_that_a_run_would_exceed(command: Metagym) -> None:
    budget = ("--budget", "episodes=49,calls=100000,cost=0.0001")
    assert json.loads(command(*GATES, *PRICES, *budget, "--json").out)["exceeded"] == ["cost", "episodes"]
    assert "The budget of 49 episodes a run is exceeded: about 50.00 a run." in command(*GATES, *budget).out
    assert "exceeded" not in command(*GATES, "--seeds", 2, "--budget", "episodes=50").out


def test_prices_are_two_finite_numbers(command: Metagym) -> None:
    for prices in ("prompt=1", "prompt=Infinity,completion=1"):
        done = command(*GATES, "--prices", prices)
        assert (done.code, "--prices expects prompt=X,completion=Y" in done.err) == (1, True)


def test_a_models_price_that_is_no_price_is_named(command: Metagym) -> None:
    model = {"model": "m", "client": {"prices": {"prompt": -1.0, "completion": 2.0}}}
    Path("model.json").write_text(json.dumps(model), encoding="utf-8")
    done = command(*GATES, "--actor", "model.json")
    assert (done.code, "Error: Field of prices 'prompt' got -1.0" in done.err) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "flags"),
    [
        (("--preset", "ict-small", "--budget", "calls=3", "--effect", 0.1, "--sd", 0.2), "--budget, --effect, --sd"),
        (("--preset", "ict-small", "-n", 2, "--seeds", 4, "--option", "nosuch=1"), "--steps, --seeds, --option"),
        (("--preset", "ict-small", "--seconds-per-call", 9, "--tasks", 3), "--seconds-per-call, --tasks"),
        (("--like", "RUN", "--effect", 0.1, "--budget", "calls=1", "--seeds", 9), "--seeds, --budget, --effect"),
        (("--like", "RUN", "--actor", "demo", "--steps", 10), "--steps, --actor"),
        (("MetaGym/Gates-v0", "--like", "RUN", "--reply-tokens", 9), "--reply-tokens"),
        (("MetaGym/Gates-v0", "--sd", 0.1), "--sd"),
        (("MetaGym/Gates-v0", "--effect", 0.1, "--sd", 0.1, "--tasks", 7), "--tasks"),
    ],
)
def test_a_flag_that_has_no_effect_is_refused_by_its_name(
    command: Metagym, arguments: tuple[Any, ...], flags: str
) -> None:
    done = command("estimate", *arguments)
    assert (done.code, f"Error: {flags} would have no effect: " in done.err) == (1, True)
