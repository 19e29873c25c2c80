"""An evaluation over a model server: purposes are booked apart, and no reply is paid for twice."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from metagym.errors import MetaGymError
from metagym.evaluation import EvaluationConfig, evaluate
from metagym.models import Cassette
from metagym.models.cassette import Mode
from metagym.testing import ServerReply, ServerRequest
from tests.conftest import MakeGates, Serve

CONFIG = EvaluationConfig(
    families=("law-0000",), num_steps=2, episodes_per_step=2, num_seeds=1, num_validation=2, num_test=2
)
PLAYED = "Thought: I knock.\nAction: knock"
WRITTEN = "ANALYSIS: It opened.\nIMPROVED PROMPT:\nKnock at gate {number}."


def answer(request: ServerRequest) -> str:
    is_reflector = "IMPROVED PROMPT" in request.messages[0]["content"]
    return WRITTEN.format(number=request.number) if is_reflector else PLAYED


def make(make_gates: MakeGates, url: str, **options: Any) -> tuple[Any, dict[str, Any]]:
    model = {"model": "m", "base_url": url, **options}
    return make_gates(model), model


def test_learning_and_measuring_are_booked_apart(make_gates: MakeGates, serve: Serve, tmp_path: Path) -> None:
    env, model = make(make_gates, serve(answer).base_url)
    report = evaluate(env, model, config=CONFIG, path=tmp_path)
    ledger = env.ledger
    assert not report.scripted
    assert ledger.spent(role="actor", purpose="learning").usage == report.usage["learning"]
    assert ledger.spent(role="actor", purpose="measurement").usage == report.usage["measuring"]
    assert ledger.spent(role="reflector").usage == report.usage["reflector"]
    assert report.usage["measuring"].num_calls > report.usage["learning"].num_calls > 0


def test_an_open_cassette_takes_the_replies_of_an_evaluation_and_plays_it_again(
    make_gates: MakeGates, serve: Serve, tmp_path: Path
) -> None:
    server, path = serve(answer), tmp_path / "replies.sqlite"

    def run(folder: str, mode: Mode, **options: Any) -> bytes:
        env, model = make(make_gates, server.base_url, **options)
        with contextlib.closing(Cassette(path, mode=mode)) as cassette, cassette.open():
            evaluate(env, model, config=CONFIG, path=tmp_path / folder)
        assert not (tmp_path / folder / "replies.sqlite").exists()
        return (tmp_path / folder / "log.jsonl").read_bytes()

    first, num_requests = run("first", "read-through"), len(server.requests)
    again = run("again", "replay", client={"offline": True})
    assert sorted(first.splitlines()) == sorted(again.splitlines())
    assert len(server.requests) == num_requests


def test_a_run_that_a_server_stopped_resumes_without_asking_again(
    make_gates: MakeGates, serve: Serve, tmp_path: Path
) -> None:
    whole_server = serve(answer)
    env, model = make(make_gates, whole_server.base_url)
    evaluate(env, model, config=CONFIG, path=tmp_path / "whole")
    num_requests = len(whole_server.requests)

    down = [False]

    def failing(request: ServerRequest) -> str | ServerReply:
        down[0] = down[0] or (request.number == 12)
        return ServerReply("no", status=400) if down[0] else answer(request)

    server = serve(failing)
    env, model = make(make_gates, server.base_url)
    with pytest.raises(MetaGymError):
        evaluate(env, model, config=CONFIG, path=tmp_path / "run")
    refused = sum(request.number >= 12 for request in server.requests)
    down[0] = False
    server._respond = answer
    env, model = make(make_gates, server.base_url)
    evaluate(env, model, config=CONFIG, path=tmp_path / "run")
    assert len(server.requests) - refused == num_requests
