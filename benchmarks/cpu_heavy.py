"""An inner environment that burns some milliseconds of CPU at each step. Importable, so picklable."""

from __future__ import annotations

import hashlib
from typing import Any

import gymnasium

from metagym.spaces import TextSpace

NUM_STEPS = 20
WORK = b"x" * 5_000_000
"""Hashed once a step: some five milliseconds."""


class CpuHeavy(gymnasium.Env[str, str]):
    """Does real work that no other thread of the process can share."""

    def __init__(self) -> None:
        self.observation_space = TextSpace()
        self.action_space = TextSpace()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        self._count = 0
        return "ready", {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self._count += 1
        digest = hashlib.sha256(WORK).hexdigest()
        return digest, 0.0, self._count == NUM_STEPS, False, {"success": True}
