"""The native engine gives the answers that TextWorld was recorded to give."""

from __future__ import annotations

import pytest

from metagym.envs.alfworld.catalogue import GameCatalogue
from metagym.envs.alfworld.game import NativeEngine
from tests.envs.alfworld import golden

TRACES = golden.read()


@pytest.mark.parametrize("task_id", TRACES)
def test_native_engine_answers_as_recorded(task_id: str, generated: GameCatalogue) -> None:
    engine = NativeEngine()
    turn = engine.start(generated.game(task_id))
    (_, *expected), *rest = TRACES[task_id]
    assert golden.as_record(turn) == expected
    for number, (command, *expected) in enumerate(rest):
        turn = engine.step(command)
        assert golden.as_record(turn) == expected, f"step {number}, {command!r}: {turn}"


def test_traces_are_of_all_families_and_kinds_of_commands() -> None:
    assert {name.split("/")[1].split("-")[0] for name in TRACES} == set(golden.FAMILIES)
    verbs = {command.split()[0] for trace in TRACES.values() for command, *_ in trace[1:] if command}
    assert verbs >= {"go", "open", "close", "take", "move", "clean", "heat", "cool", "use", "examine", "look"}
    assert verbs >= {"inventory", "help", "LOOK"}
