"""The stock engine: ALFWorld's games in TextWorld, in a process of its own. The reference, and slow.

TextWorld's parsers keep global state, its planner library leaks, and a step takes long: so it runs in a
spawned process that serves any blocking environment, one that is replaced where it dies or hangs.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import itertools
import multiprocessing
import os
import tempfile
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from metagym.envs.alfworld.game import Game, GameData, Turn
from metagym.errors import InfrastructureError, MissingExtraError

STEP_TIMEOUT_S = 120.0


class WorkerDiedError(InfrastructureError):
    """A worker process died, hung, or could not answer."""


# A process that serves blocking environments ----------------------------------------------------------


class BlockingWorker:
    """A spawned process that hosts any number of blocking environments and calls their methods.

    `factory` is the import path (`package.module:name`) of what makes one environment; the environments
    live in that process alone. A call that takes longer than `timeout_s` kills the process; the next
    call starts a fresh one. Threads may share it: the calls queue up.
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
        """Call `method` of environment number `env`, which is made when it is first called.

        Raises:
            WorkerDiedError: the process died or took too long; its environments are lost.
            InfrastructureError: the method raised.
        """
        with self._lock:
            pipe = self._pipe if self._process is not None and self._process.is_alive() else None
            try:
                pipe = pipe or self._spawn()
                pipe.send((env, method, arguments))
                if not pipe.poll(self._timeout_s):
                    raise TimeoutError(f"no answer within {self._timeout_s:g} s")
                failure, value = pipe.recv()
            except (OSError, EOFError) as error:
                self.close()
                raise WorkerDiedError(
                    f"The process of {self._factory} was lost in {method}: {type(error).__name__}: {error}. "
                    "Its environments are gone; the next call starts a fresh process."
                ) from error
        if failure:
            raise InfrastructureError(f"{self._factory} raised in {method}: {failure}")
        return value

    def close(self) -> None:
        """Kill the process. Twice is fine."""
        with self._lock:
            process, pipe = self._process, self._pipe
            self._process = self._pipe = None
        if pipe is not None:
            pipe.close()
        if process is not None:
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
    module, _, name = factory.partition(":")
    make: Callable[[], Any] = getattr(importlib.import_module(module), name)
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


# TextWorld in it --------------------------------------------------------------------------------------


class TextWorldGame:
    """Plays in TextWorld, as `AlfredTWEnv` sets it up. Blocking; lives in a `BlockingWorker`."""

    def __init__(self) -> None:
        with _no_new_home():
            textworld = importlib.import_module("textworld")
            stock = importlib.import_module("alfworld.agents.environment.alfred_tw_env")

        infos = textworld.EnvInfos(won=True, admissible_commands=True, extras=["gamefile"])
        self._env = stock.AlfredInfos(stock.AlfredDemangler(textworld.envs.PddlEnv(infos), shuffle=False))

    def start(self, data: dict[str, Any]) -> Turn:
        """Begin the game of a `game.tw-pddl`'s JSON."""
        self._env.load(data)
        return _turn(self._env.reset())

    def step(self, command: str) -> Turn:
        """Execute `command`."""
        state, _, _ = self._env.step(command)
        return _turn(state)


def _turn(state: Any) -> Turn:
    return Turn(state.feedback, tuple(state["admissible_commands"]), bool(state["won"]))


@contextlib.contextmanager
def _no_new_home() -> Any:
    """Keep `import alfworld` from creating a folder in the user's home, which it does without ALFWORLD_DATA."""
    if os.environ.get("ALFWORLD_DATA"):
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ALFWORLD_DATA"] = folder
        try:
            yield
        finally:
            del os.environ["ALFWORLD_DATA"]


class StockEngine:
    """Plays in TextWorld, in a process of its own, or in one that it shares with others."""

    needs_data = True

    def __init__(self, worker: BlockingWorker | None = None) -> None:
        require_stock()
        self._owns_worker = worker is None
        self._worker = worker or make_stock_worker()
        self._number = self._worker.new_env()

    def start(self, game: Game | None, data: GameData) -> Turn:
        """Begin the game of that JSON."""
        turn: Turn = self._worker.call(self._number, "start", dict(data))
        return turn

    def step(self, command: str) -> Turn:
        """Execute `command`; one that is not admissible changes nothing."""
        turn: Turn = self._worker.call(self._number, "step", command)
        return turn

    def close(self) -> None:
        """End the process, where it is the engine's own."""
        if self._owns_worker:
            self._worker.close()


class HostedStockEngine:
    """Plays in TextWorld in this very process: for a worker process, which hosts blocking environments anyway."""

    needs_data = True

    def __init__(self) -> None:
        require_stock()
        self._game = TextWorldGame()

    def start(self, game: Game | None, data: GameData) -> Turn:
        """Begin the game of that JSON."""
        return self._game.start(dict(data))

    def step(self, command: str) -> Turn:
        """Execute `command`; one that is not admissible changes nothing."""
        return self._game.step(command)

    def close(self) -> None:
        """Nothing to give back: the process ends with its worker."""


def make_stock_worker() -> BlockingWorker:
    """Return a process that any number of stock engines share."""
    return BlockingWorker("metagym.envs.alfworld.stock:TextWorldGame")


def require_stock() -> None:
    """Raise where the stock engine's packages are not installed.

    Raises:
        MissingExtraError: they are not; the message says what to install.
    """
    for package in ("textworld", "alfworld", "fast_downward"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(
                f"engine='textworld' needs the package {package!r}, which is not installed: "
                "pip install 'metagym[alfworld]'. engine='native' plays without it."
            )
