"""The reference engine: ALFWorld's games in TextWorld, in its own process. It is slow.

TextWorld's parsers keep global state, its planner library leaks memory, and a step blocks for long. So TextWorld runs
in a spawned process, which is replaced if it dies or hangs.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import multiprocessing
import os
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

from metagym.envs.alfworld.game import Game, GameData, Turn
from metagym.errors import InfrastructureError, MissingExtraError
from metagym.imports import import_object, missing_extra, require

TEXTWORLD = "metagym.envs.alfworld.textworld_engine:TextWorldEngine"
STEP_TIMEOUT_S = 120.0


class EnvironmentProcessError(InfrastructureError):
    """A process that hosts environments died, hung, or could not answer."""


class EnvironmentProcess:
    """A spawned process that hosts blocking environments and calls their methods. It is thread-safe: calls queue.

    `factory` is the import path (`package.module:name`) of a function that makes one environment. A call that takes
    longer than `timeout_s` kills the process; the next call starts a new one.
    """

    def __init__(self, factory: str, *, timeout_s: float = STEP_TIMEOUT_S) -> None:
        self._factory, self._timeout_s = factory, timeout_s
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None
        self._lock = threading.RLock()
        self._numbers = itertools.count()

    def new_env(self) -> int:
        """Return a number for a new environment."""
        return next(self._numbers)

    def call(self, env: int, method: str, *arguments: Any) -> Any:
        """Call `method` of environment number `env`. The first call makes the environment."""
        with self._lock:
            pipe = self._pipe if self._process is not None and self._process.is_alive() else None
            try:
                pipe = pipe or self._spawn()
                pipe.send((env, method, arguments))
                if not pipe.poll(self._timeout_s):
                    raise TimeoutError(f"no answer within {self._timeout_s:g} s")
                failure, value = pipe.recv()
            except BaseException as error:
                self.close()  # else the next call would read the answer to this one
                if not isinstance(error, OSError | EOFError):
                    raise
                raise EnvironmentProcessError(
                    f"The process of {self._factory} was lost in {method}: {type(error).__name__}: {error}. "
                    "Its environments are gone; the next call starts a new process."
                ) from error
        if failure:
            raise InfrastructureError(f"{self._factory} raised in {method}: {failure}")
        return value

    def close(self) -> None:
        """Kill the process. Calling it twice is fine."""
        with self._lock:
            process, pipe = self._process, self._pipe
            self._process = self._pipe = None
        if process is not None and pipe is not None:
            pipe.close()
            process.kill()
            process.join()

    def _spawn(self) -> Connection:
        self.close()
        # Spawned, not forked: TextWorld must not inherit locks from the threads of this process.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(self._factory, theirs), daemon=True)
        process.start()
        theirs.close()
        self._process, self._pipe = process, ours
        return ours


def _serve(factory: str, pipe: Connection) -> None:
    make: Callable[[], Any] = import_object(factory)
    envs: dict[int, Any] = {}
    while True:
        try:
            env, method, arguments = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            if env not in envs:
                envs[env] = make()
            answer = ("", getattr(envs[env], method)(*arguments))
        except Exception:
            envs.pop(env, None)
            answer = (traceback.format_exc(limit=-3), None)
        with contextlib.suppress(OSError):
            pipe.send(answer)


class TextWorldEngine:
    """Plays in TextWorld, set up like `AlfredTWEnv`, in the current process. Calls block."""

    needs_data = True

    def __init__(self) -> None:
        require_textworld()
        with _temporary_alfworld_data():
            textworld = require("textworld", extra="alfworld")
            stock = require("alfworld.agents.environment.alfred_tw_env", extra="alfworld")
        infos = textworld.EnvInfos(won=True, admissible_commands=True, extras=["gamefile"])
        self._env = stock.AlfredInfos(stock.AlfredDemangler(textworld.envs.PddlEnv(infos), shuffle=False))

    def start(self, game: Game | None, data: GameData) -> Turn:
        """Start the game that `data` describes."""
        self._env.load(dict(data))
        return _turn(self._env.reset())

    def step(self, command: str) -> Turn:
        """Execute `command`."""
        state, _, _ = self._env.step(command)
        return _turn(state)

    def close(self) -> None:
        """Do nothing: TextWorld ends with its process."""


def _turn(state: Any) -> Turn:
    return Turn(state.feedback, tuple(state["admissible_commands"]), bool(state["won"]))


@contextlib.contextmanager
def _temporary_alfworld_data() -> Iterator[None]:
    """Keep `import alfworld` from making a folder in the user's home, which it does if ALFWORLD_DATA is not set."""
    if os.environ.get("ALFWORLD_DATA"):
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ALFWORLD_DATA"] = folder
        try:
            yield
        finally:
            del os.environ["ALFWORLD_DATA"]


class SpawnedTextWorldEngine:
    """Plays in TextWorld in another process: its own, or a `process` that several engines share."""

    needs_data = True

    def __init__(self, process: EnvironmentProcess | None = None) -> None:
        require_textworld()
        self._owns_process = process is None
        self._process = process or EnvironmentProcess(TEXTWORLD)
        self._number = self._process.new_env()

    def start(self, game: Game | None, data: GameData) -> Turn:
        """Start the game that `data` describes."""
        turn: Turn = self._process.call(self._number, "start", None, dict(data))
        return turn

    def step(self, command: str) -> Turn:
        """Execute `command`."""
        turn: Turn = self._process.call(self._number, "step", command)
        return turn

    def close(self) -> None:
        """End the process if it is the engine's own."""
        if self._owns_process:
            self._process.close()


def require_textworld() -> None:
    """Check that the packages of the engine are installed, without importing them."""
    for package in ("textworld", "alfworld", "fast_downward"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(f"{missing_extra(package, 'alfworld')} engine='native' works without it.")
