"""Traces that stock TextWorld played: `python -m tests.envs.alfworld.golden` records them again.

With them, the native engine is compared with TextWorld on machines without TextWorld.
"""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

from tools.alfworld_parity import choose

from metagym.envs.alfworld.catalogue import GameCatalogue
from metagym.envs.alfworld.families import FAMILIES
from metagym.envs.alfworld.game import Turn
from metagym.envs.alfworld.generated.games import task_id
from metagym.envs.alfworld.textworld_engine import SpawnedTextWorldEngine
from metagym.types import digest

FILE = Path(__file__).parent / "golden.json.gz"
SEEDS = (0, 1)
NUM_STEPS = 40


def as_record(turn: Turn) -> list[Any]:
    """Return a turn in short: the admissible commands as their number and digest."""
    return [turn.text, len(turn.commands), digest(turn.commands), turn.won]


def record() -> dict[str, list[list[Any]]]:
    """Play each game in the stock engine: the walkthrough with other commands between, then at random."""
    catalogue, engine, traces = GameCatalogue(data="generated"), SpawnedTextWorldEngine(), {}
    for family in FAMILIES:
        for seed in SEEDS:
            name, rng = task_id(family, seed), random.Random(seed)
            walkthrough = list(catalogue.game(name).walkthrough)
            turn = engine.start(None, catalogue.data(name))
            trace: list[list[Any]] = [["", *as_record(turn)]]
            for _ in range(NUM_STEPS):
                command = choose(turn, walkthrough, rng)
                turn = engine.step(command)
                trace.append([command, *as_record(turn)])
            traces[name] = trace
    engine.close()
    return traces


def read() -> dict[str, list[list[Any]]]:
    """Return the recorded traces, by task id; each row is a command and what came of it."""
    traces: dict[str, list[list[Any]]] = json.loads(gzip.decompress(FILE.read_bytes()))
    return traces


if __name__ == "__main__":
    FILE.write_bytes(gzip.compress(json.dumps(record(), indent=0).encode(), 9, mtime=0))
