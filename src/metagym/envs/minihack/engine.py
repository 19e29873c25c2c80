"""Plays NetHack: one game, exactly seeded and re-used without a rebuild; and a bounded pool of games.

This is the only module that imports minihack and nle, and that knows their traps.
"""

from __future__ import annotations

import importlib.resources
import importlib.util
import os
import sys
import threading
import types
import warnings
import weakref
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from metagym.envs.minihack.families import check_family
from metagym.envs.minihack.screen import Screen, read_screen
from metagym.imports import missing_extra, require

_NEVER = 2**31
_TOP_TEN = ("record", "logfile", "xlogfile")
_live_games: weakref.WeakSet[NetHackGame] = weakref.WeakSet()
_import_lock = threading.Lock()


def import_minihack() -> Any:
    """Import minihack, with or without setuptools' `pkg_resources`, and return it."""
    with _import_lock:
        if "minihack" in sys.modules:
            return sys.modules["minihack"]
        for name in ("minihack", "nle"):
            if importlib.util.find_spec(name) is None:
                raise missing_extra(name, "minihack")
        # minihack asks `pkg_resources` for the folders of two packages. The newest setuptools has no such module, and
        # older ones take seconds to import it and warn that it is deprecated. An empty module avoids both.
        present = sys.modules.get("pkg_resources")
        sys.modules["pkg_resources"] = present or _empty_module()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                return require("minihack", extra="minihack")
        finally:
            if present is None:
                del sys.modules["pkg_resources"]


def _empty_module() -> Any:
    module: Any = types.ModuleType("pkg_resources")
    module.resource_filename = lambda package, resource: str(importlib.resources.files(package) / resource)
    return module


class Outcome(NamedTuple):
    """The result of one key."""

    reward: float
    """MiniHack's own reward, including its penalties."""
    is_over: bool
    is_success: bool
    is_death: bool


class NetHackGame:
    """One live NetHack game of one family; it takes 3.4 MB and two file descriptors. It is not thread-safe."""

    def __init__(self, family: str) -> None:
        self.family = check_family(family)
        import_minihack()
        import gymnasium

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings on spaces and deprecations: a user can do nothing about them
            env: Any = gymnasium.make(
                family,
                disable_env_checker=True,
                fix_moon_phase=True,  # full moon, new moon and Friday 13th change messages and luck
                allow_all_modes=True,  # menus, --More-- and pages of text are not skipped
                allow_all_yn_questions=True,
                observation_keys=("message",),  # makes no crops; NLE's own buffers are complete
                render_mode=None,
            ).unwrapped
        self.max_steps: int = env._max_episode_steps
        """MiniHack's own step limit."""
        self.keys: tuple[int, ...] = tuple(int(action) for action in env.actions)
        """The keys in the family's own action list."""
        # NLE's own limit would end the game, and it counts keys instead of the agent's steps.
        env._max_episode_steps = _NEVER
        # Now an index is a key: answers (item letters, texts) need keys that restricted families do not list.
        env.actions = tuple(range(256))
        self._looked_at = [env._observation_keys.index(name) for name in ("blstats", "chars")]
        self._env = env
        self._last: Screen | None = None
        self.reads_descriptions = self.reads_colors = False
        self._pid = os.getpid()
        _live_games.add(self)

    @property
    def is_usable(self) -> bool:
        """False if the game is closed, or was made before a fork."""
        return self._env is not None and self._pid == os.getpid()

    def start(self, seed: int) -> None:
        """Start the level of that seed: the same level as in a new environment made for this seed alone."""
        # NetHack's top-ten list survives a reset and shows on the death screen.
        for name in _TOP_TEN:
            os.truncate(os.path.join(self._env.nethack._vardir, name), 0)
        self._last = None
        self._env.seed(seed, seed, reseed=False)
        # Without `sample_seed=False`, MiniHack would draw a seed from Python's global generator.
        self._env.reset(sample_seed=False)

    def press(self, key: int) -> Outcome:
        """Press one key, as MiniHack's own `step` does, with three differences.

        It copies only two of the last observation's arrays, because no reward reads more. It does not quit a won
        game, which would overwrite the last screen. And it skips KeyRoom's own `step`, which replaces "apply" by a
        hidden loop that walks at the door until it opens, and that never ends at a door on a diagonal.
        """
        env = self._env
        before = list(env.last_observation)
        for position in self._looked_at:
            before[position] = before[position].copy()
        env._previous_obs, env._previous_action = before, key
        after, is_over = env.nethack.step(key)
        if after[env._program_state_index][0] == 1:  # the game is over: only pages of text follow
            after, is_over = self._finish(after, is_over)
        env._steps += 1
        env.last_observation = after
        status = env._get_end_status(after, is_over)
        reward = float(env._reward_fn(before, key, after, status))
        # Memento can end in a defeat (a squeak, reward -1), which MiniHack reports as a success.
        return Outcome(reward, bool(is_over or status), int(status) == 2 and reward > -0.5, int(status) == 1)

    def screen(self) -> Screen:
        """Return the screen; after the end, the last screen that was not blank."""
        screen = self._read()
        return self._last if screen.is_blank and self._last is not None else screen

    def _read(self) -> Screen:
        names, values = self._env._observation_keys, self._env.last_observation
        buffers = dict(zip(names, values, strict=True))
        return read_screen(buffers, descriptions=self.reads_descriptions, colors=self.reads_colors)

    def _finish(self, observation: Any, is_over: bool) -> Any:
        # Keep the page that says why the game ended, before NLE skips the last pages.
        self._env.last_observation = observation
        if not (screen := self._read()).is_blank:
            self._last = screen
        return self._env._perform_known_steps(observation, is_over, exceptions=True)

    def cause_of_end(self) -> str:
        """Return NetHack's own description of the death (`killed by a jackal`); empty if it gives no reason."""
        path = Path(self._env.nethack._vardir, "xlogfile")
        fields = path.read_text(encoding="latin-1").strip().split("\n")[-1].split("\t")
        return next((field[len("death=") :] for field in fields if field.startswith("death=")), "")

    def close(self) -> None:
        """Release memory, file descriptors and the game's folder. Calling it twice is fine."""
        env, self._env = self._env, None
        if env is not None and self._pid == os.getpid():
            env.close()


def _disown_all() -> None:
    # In a forked child the folder belongs to the parent, and the game's finalizers would delete it.
    for env in [game._env for game in _live_games if game._env is not None]:
        env._close_nethack.detach()
        env.nethack._finalizer.detach()
        env.nethack._tempdir._finalizer.detach()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown_all)


class GamePool:
    """Keeps up to `max_idle` games of any families for re-use. It is thread-safe.

    Making a game takes 15-56 ms and re-seeding one 1 ms, so the pool keeps games after use. If there are too many, it
    closes the game that was idle longest.
    """

    def __init__(self, *, max_idle: int = 32) -> None:
        self._max_idle = max_idle
        self._idle: dict[NetHackGame, None] = {}
        """The idle games, from the one that was idle longest."""
        self._lock = threading.Lock()

    def take(self, family: str) -> NetHackGame:
        """Return an idle game of that family, or a new one. It belongs to the caller until it is given back."""
        with self._lock:
            for game in reversed(self._idle):
                if game.family == family and game.is_usable:
                    del self._idle[game]
                    return game
        return NetHackGame(family)

    def give_back(self, game: NetHackGame) -> None:
        """Return a game to the pool."""
        if not game.is_usable:
            return
        with self._lock:
            self._idle[game] = None
            excess = list(self._idle)[: max(0, len(self._idle) - self._max_idle)]
            for old in excess:
                del self._idle[old]
        for old in excess:
            old.close()

    def prepare(self, families: Iterable[str], *, num_threads: int = 4) -> None:
        """Make one game for each name in `families`, in a few threads."""
        import_minihack()
        with ThreadPoolExecutor(num_threads) as executor:
            for game in executor.map(NetHackGame, families):
                self.give_back(game)

    def close(self) -> None:
        """Close the idle games. Calling it twice is fine."""
        with self._lock:
            games = list(self._idle)
            self._idle.clear()
        for game in games:
            game.close()
