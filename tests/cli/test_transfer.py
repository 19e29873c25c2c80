"""`metagym evaluate --test-on`: its calls are kept and counted like those of the evaluation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from metagym.cli.transfer import other_world, score_there
from metagym.errors import BudgetExceededError
from metagym.evaluation.campaign import run_campaign
from metagym.evaluation.preset import load_preset
from tests.cli.conftest import Metagym
from tests.conftest import Serve

UPDATE = {"num_seeds": 2, "num_steps": 1, "num_validation": 2, "num_test": 2}


@pytest.mark.slow
def test_a_transfer_that_was_stopped_pays_for_no_call_twice_and_shares_the_budget(serve: Serve, tmp_path: Path) -> None:
    server = serve("Thought: x\nAction: knock")
    actor = {"model": "m", "base_url": server.base_url}
    preset = load_preset("ict-small").model_copy(update=UPDATE)
    world = other_world("MetaGym/Gates-v0:law-0900", preset)
    (evaluated,) = run_campaign(preset, actor=actor, reflector="fixed", controls=(), path=tmp_path)
    used = len(server.requests)
    with pytest.raises(BudgetExceededError):
        score_there(evaluated, world, preset, actor, {"calls": used + 10})
    assert len(server.requests) == used + 10
    score_there(evaluated, world, preset, actor, {})
    asked = [(str(request.body["messages"]), request.body["seed"]) for request in server.requests]
    assert len(set(asked)) == len(asked) > used + 10


def test_a_world_with_too_few_tasks_is_refused_before_anything_is_played(command: Metagym) -> None:
    options = ("--families", "law-0007", "--option", "num_test=500", "--actor", "demo", "--out", "out")
    done = command("evaluate", "MetaGym/Gates-v0", *options, "--test-on", "MetaGym/Questions-v0")
    assert done.code == 1
    assert re.search(r"too few test tasks to score prompts on: 500 are asked for, and there are \d+", done.err)
    assert not Path("out").exists()
