"""Inner environments that misbehave on command. They can be imported, so they can be pickled."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium

from metagym.spaces import TextSpace


class Naughty(gymnasium.Env[str, str]):
    """Counts to four; `die`, `hang` and the like do what they say, but only once if `once` names a file."""

    def __init__(self, once: str | None = None) -> None:
        self.observation_space = TextSpace()
        self.action_space = TextSpace()
        self._once = once

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self._count = 0
        return f"seed {seed}", {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self._count += 1
        print("garbage on stdout", self._count)
        print("garbage on stderr", file=sys.stderr)
        if self._is_due(action):
            if action == "die":
                os._exit(7)
            if action == "hang":
                time.sleep(600)
            if action == "exit":
                sys.exit(3)
            if action == "raise":
                raise ValueError("as asked")
            if action == "eat":
                bytearray(8 * 2**30)
        info = {"process": os.getpid()} if action != "unpicklable" else {"process": lambda: 0}
        return f"count {self._count}", 1.0, self._count == 4, False, info

    def _is_due(self, action: str) -> bool:
        if self._once is None or action not in ("die", "hang", "exit"):
            return True
        mark = Path(self._once)
        if mark.exists():
            return False
        mark.touch()
        return True


def missing_package() -> Naughty:
    """Stand in for an environment whose package is not installed."""
    raise ImportError("pip install something")
