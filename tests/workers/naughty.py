"""Inner environments that misbehave on command. They can be imported, so they can be pickled."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium

from metagym.spaces import TextSpace


class UnreadableError(Exception):
    """Cannot be unpickled: it needs two arguments, and keeps one."""

    def __init__(self, what: str, code: int) -> None:
        super().__init__(f"{what} went wrong")


class NeedsMoreError(ImportError):
    """An ImportError of the same kind."""

    def __init__(self, package: str, version: int) -> None:
        super().__init__(f"pip install {package}=={version}")


class Unreadable:
    """Cannot be unpickled."""

    def __init__(self, what: str, code: int) -> None:
        self.what = what

    def __reduce__(self) -> Any:
        return Unreadable, (self.what,)


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
            if action == "fork" and os.fork() == 0:
                time.sleep(600)  # it holds the socket of its parent
            if action == "return from a fork" and os.fork() == 0:
                return "I am another process", 1.0, False, False, {}
            if action in ("die after a fork", "kill after a fork"):
                if os.fork() == 0:
                    time.sleep(600)
                os.kill(os.getpid(), signal.SIGKILL) if action.startswith("kill") else os._exit(7)
            if action == "child" and (child := os.fork()) == 0:
                time.sleep(600)
            elif action == "child" and self._once:
                Path(self._once).write_text(str(child))
            if action == "raise odd":
                raise UnreadableError("what", 7)
            if action == "miss":
                raise NeedsMoreError("nle", 3)
            if action == "eat":
                bytearray(8 * 2**30)
        info: dict[str, Any] = {"display": os.getpid()}
        if action == "odd":
            info |= {"nobody reads": lambda: 0, "nor this": Unreadable("x", 1)}
        return f"count {self._count}", 1.0, self._count == 4, False, info

    def _is_due(self, action: str) -> bool:
        if self._once is None or action not in ("die", "hang", "exit"):
            return True
        mark = Path(self._once)
        if mark.exists():
            return False
        mark.touch()
        return True


class ExitsInClose(Naughty):
    """Calls `sys.exit` in close, as a game's own quit does."""

    def close(self) -> None:
        sys.exit(4)


SHARED = Naughty()


def shared() -> Naughty:
    """Return the same environment each time."""
    return SHARED


def missing_version() -> Naughty:
    """Act as an environment whose package is too old, and says so with an exception of its own."""
    raise NeedsMoreError("nle", 3)


def missing_package() -> Naughty:
    """Act as an environment whose package is not installed."""
    raise ImportError("pip install something")
