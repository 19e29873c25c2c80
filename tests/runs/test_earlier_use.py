"""What earlier processes used counts in a budget."""

from __future__ import annotations

from pathlib import Path

from metagym.actor import ChatActor
from metagym.budget import BudgetUse
from metagym.runs.earlier_use import counting_replays
from metagym.testing import FakeChatModel
from tests.conftest import MakeGates


def test_equal_replays_are_all_played_and_count_in_later_processes(make_gates: MakeGates, tmp_path: Path) -> None:
    model, used = FakeChatModel(["Thought: x\nAction: knock"]), list[BudgetUse]()
    for _ in range(2):
        env = make_gates(ChatActor(model), max_steps=3, budget={"episodes": 100, "calls": 100})
        with counting_replays(tmp_path, env):
            env.replay(["a", "a"], ["law-0007/1", "law-0007/2"])
        used.append(env.ledger.used)
    assert [(item.episodes, item.calls) for item in used] == [(4, 12), (8, 24)]
    assert len(model.calls) == 24
