"""The command line's part in models: budgets, replays, estimates, servers, and what was spent."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from metagym.models import local_server
from metagym.runs import RunFolder
from metagym.testing import FakeOpenAIServer
from tests.cli.test_commands import Metagym, command
from tests.conftest import Serve
from tests.test_spending_limits import respond

__all__ = ["command"]


def arguments(server: FakeOpenAIServer, *more: object) -> list[object]:
    options = ["--option", "episodes_per_step=2", "--steps", 3, "--out", "run"]
    return ["run", "MetaGym/Gates-v0", "--model", "m", "--base-url", server.base_url, *options, *more]


def test_run_stops_at_its_budget_and_resume_goes_on_with_a_larger_one(serve: Serve, command: Metagym) -> None:
    server = serve(respond)
    stopped = command(*arguments(server, "--max-calls", 20))
    assert stopped.code == 1
    assert "The budget of 20 calls is spent" in stopped.err
    assert "Go on with: metagym resume run" in stopped.err
    assert len(server.requests) == 20
    again = command("resume", "run")
    assert (again.code, len(server.requests)) == (1, 20)
    done = command("resume", "run", "--max-calls", 100_000)
    assert done.code == 0, done.err
    assert len(RunFolder.open(Path("run")).history) == 3


def test_what_was_spent_is_shown_by_role_and_purpose(serve: Serve, command: Metagym) -> None:
    server = serve(respond)
    prices = json.dumps({"prices": {"prompt": 1.0, "completion": 2.0}})
    assert command(*arguments(server, "--client", prices)).code == 0
    shown = command("show", "run").out
    rows = re.findall(r"^│ (actor|reflector) +│ learning +│ +([\d,]+) +│", shown, re.MULTILINE)
    assert sum(int(number.replace(",", "")) for _, number in rows) == len(server.requests)
    assert re.search(r"│ 0\.\d{4} +│", shown)


def test_a_run_replays_without_its_server(
    serve: Serve, command: Metagym, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(respond)
    assert command(*arguments(server)).code == 0
    num_calls = len(server.requests)
    replay = ["--replay", "run/replies.sqlite", "--out", "again"]
    assert command(*arguments(server, *replay)).code == 0
    assert len(server.requests) == num_calls
    first, second = (sorted(Path(name, "log.jsonl").read_bytes().splitlines()) for name in ("run", "again"))
    assert first == second


def test_a_client_option_that_is_no_mapping_is_refused(serve: Serve, command: Metagym) -> None:
    server = serve(respond)
    assert "--client expects a JSON mapping, got '[1]'" in command(*arguments(server, "--client", "[1]")).err
    assert "--client expects a JSON mapping, got '{'" in command(*arguments(server, "--client", "{")).err
    wrong = command(*arguments(server, "--client", '{"max_concurrency": 0}'))
    assert "client.max_concurrency got 0" in wrong.err


def test_estimate_says_what_a_run_takes_and_calls_no_model(command: Metagym, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise AssertionError("an estimate needs no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    prices = ["--price-prompt", 1, "--price-completion", 4]
    done = command("estimate", "MetaGym/Gates-v0", "--steps", 10, "--seeds", 5, *prices, "--effect", 0.1, "--sd", 0.2)
    assert done.code == 0, done.err
    assert re.search(r"actor, at most +│ 6,250 ", done.out)
    assert re.search(r"reflector +│ 45 ", done.out)
    assert "To find a difference of 0.1 with sd 0.2: 34 seeds" in done.out


def test_estimate_takes_an_earlier_runs_figures(serve: Serve, command: Metagym) -> None:
    server = serve(respond)
    command(*arguments(server))
    done = command("estimate", "MetaGym/Gates-v0", "--steps", 3, "--seeds", 2, "--like", "run")
    assert re.search(rf"all, like run +│ {2 * len(server.requests)} ", done.out)


def test_estimate_wants_both_prices(command: Metagym) -> None:
    done = command("estimate", "MetaGym/Gates-v0", "--price-prompt", 1)
    assert (done.code, "Expected both --price-prompt and --price-completion" in done.err) == (1, True)


def test_serve_says_where_it_answers_and_leaves_with_the_servers_code(
    command: Metagym, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stub(local_server.ModelServer):
        def start(self) -> local_server.ModelServer:
            return self

        def wait(self) -> int:
            return 3

    monkeypatch.setattr("metagym.models.ModelServer", Stub)
    done = command("serve", "tiny", "--engine", "vllm", "--port", 8123)
    assert done.code == 3
    assert "tiny answers at http://127.0.0.1:8123/v1" in done.out
    assert "must be 'vllm' or 'transformers', got 'tgi'" in command("serve", "tiny", "--engine", "tgi").err
