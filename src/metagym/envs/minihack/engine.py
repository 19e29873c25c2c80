"""One NetHack game at a time, exactly seeded, re-used and never rebuilt; a bounded pool of such games.

This is the one module that plays with minihack and nle, and the one that knows their traps.
"""

from __future__ import annotations

import os
import threading
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metagym.envs.minihack.families import check_family
from metagym.envs.minihack.loading import import_minihack
from metagym.envs.minihack.screen import Screen, read_screen

_NEVER = 2**31
_TOP_TEN = ("record", "logfile", "xlogfile")
_live_games: weakref.WeakSet[Game] = weakref.WeakSet()


@dataclass(frozen=True)
class Outcome:
    """What one key led to."""

    reward: float
    """MiniHack's own reward, its penalties included."""
    is_over: bool
    is_success: bool
    is_death: bool


class Game:
    """One live NetHack game of one family; about 3.3 MB and two file descriptors. Not thread-safe."""

    def __init__(self, family: str) -> None:
        self.family = check_family(family)
        import_minihack()
        import gymnasium

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # notes on spaces and deprecations that the user cannot act on
            env: Any = gymnasium.make(
                family,
                disable_env_checker=True,
                fix_moon_phase=True,  # full moon, new moon and Friday 13th change messages and luck
                allow_all_modes=True,  # menus, --More-- and texts are not clicked away
                allow_all_yn_questions=True,
                observation_keys=("message",),  # spares the crops; NLE's own buffers are complete
                render_mode=None,
            ).unwrapped
        self.max_steps: int = env._max_episode_steps
        """MiniHack's own limit of steps."""
        self.keys: tuple[int, ...] = tuple(int(action) for action in env.actions)
        """The keys that the family's own action list holds."""
        # A limit inside NLE would quit the game from within; and it counts keys, not the agent's steps.
        env._max_episode_steps = _NEVER
        # An index then is a key: answers (item letters, texts) need keys that restricted families lack.
        env.actions = tuple(range(256))
        self._looked_at = [env._observation_keys.index(name) for name in ("blstats", "chars")]
        self._env = env
        self._last: Screen | None = None
        self.reads_descriptions = self.reads_colors = False
        self._pid = os.getpid()
        _live_games.add(self)

    @property
    def is_usable(self) -> bool:
        """False where the game is closed, or was made before a fork."""
        return self._env is not None and self._pid == os.getpid()

    def start(self, seed: int) -> None:
        """Begin the level of that seed: the same as in a fresh environment made for this seed alone."""
        # NetHack's top-ten list survives a reset and shows on the death screen.
        for name in _TOP_TEN:
            os.truncate(os.path.join(self._env.nethack._vardir, name), 0)
        self._last = None
        self._env.seed(seed, seed, reseed=False)
        # Without `sample_seed=False` a list of seeds would be drawn from Python's global generator.
        self._env.reset(sample_seed=False)

    def press(self, key: int) -> Outcome:
        """Press one key: what MiniHack's own `step` does, but for three things.

        It copies two of the last observation's arrays instead of all twice over: no reward looks at more.
        It does not quit a won game, which would overwrite the last screen. And KeyRoom's `step` is left
        out: it replaces "apply" by a loop that walks at the door until it opens, unseen by the agent, and
        endless at a door that is met diagonally.
        """
        env = self._env
        before = list(env.last_observation)
        for position in self._looked_at:
            before[position] = before[position].copy()
        env._previous_obs, env._previous_action = before, key
        after, is_over = env.nethack.step(key)
        if after[env._program_state_index][0] == 1:  # the game is over: only pages are left
            after, is_over = self._finish(after, is_over)
        env._steps += 1
        env.last_observation = after
        status = env._get_end_status(after, is_over)
        reward = float(env._reward_fn(before, key, after, status))
        # Memento ends by a defeat (a squeak, reward -1) that MiniHack calls a success.
        return Outcome(reward, bool(is_over or status), int(status) == 2 and reward > -0.5, int(status) == 1)

    def screen(self) -> Screen:
        """Return what is shown; after the end, the last screen that showed the level."""
        screen = self._read()
        return self._last if screen.is_blank and self._last is not None else screen

    def _read(self) -> Screen:
        names, values = self._env._observation_keys, self._env.last_observation
        buffers = dict(zip(names, values, strict=True))
        return read_screen(buffers, descriptions=self.reads_descriptions, colors=self.reads_colors)

    def _finish(self, observation: Any, is_over: bool) -> Any:
        # Before NLE clicks the last pages away: keep the one that tells why.
        self._env.last_observation = observation
        if not (screen := self._read()).is_blank:
            self._last = screen
        return self._env._perform_known_steps(observation, is_over, exceptions=True)

    def cause_of_end(self) -> str:
        """Return NetHack's own word on how the game ended (`killed by a jackal`); empty where it did not."""
        path = Path(self._env.nethack._vardir, "xlogfile")
        fields = path.read_text(encoding="latin-1").strip().split("\n")[-1].split("\t")
        return next((field[len("death=") :] for field in fields if field.startswith("death=")), "")

    def close(self) -> None:
        """Give back memory, file descriptors and the game's folder. Twice is fine."""
        env, self._env = self._env, None
        if env is not None and self._pid == os.getpid():
            env.close()

    def _disown(self) -> None:
        # In a forked child: the folder is the parent's, and this object's finalizers would delete it.
        if self._env is None:
            return
        nethack = self._env.nethack
        self._env._close_nethack.detach()
        nethack._finalizer.detach()
        nethack._tempdir._finalizer.detach()


def _disown_all() -> None:
    for game in list(_live_games):
        game._disown()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown_all)


class GamePool:
    """Games of many families, taken and given back; at most `max_idle` wait in it. Thread-safe.

    Making a game costs 15-56 ms, re-seeding one 1 ms: so a game is kept after use, and the one that
    has waited longest is closed where there are too many.
    """

    def __init__(self, *, max_idle: int = 32) -> None:
        self._max_idle = max_idle
        self._idle: OrderedDict[int, Game] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, family: str) -> Game:
        """Return a game of that family, a waiting one or else a new one; the caller's until given back."""
        with self._lock:
            for number, game in reversed(self._idle.items()):
                if game.family == family and game.is_usable:
                    del self._idle[number]
                    return game
        return Game(family)

    def give_back(self, game: Game) -> None:
        """Keep a game for the next one that wants it."""
        if not game.is_usable:
            return
        with self._lock:
            self._idle[id(game)] = game
            excess = [self._idle.popitem(last=False)[1] for _ in range(len(self._idle) - self._max_idle)]
        for old in excess:
            old.close()

    def prepare(self, families: Iterable[str], *, num_threads: int = 4) -> None:
        """Make one game for each name in `families`, in a few threads, so that they wait when wanted."""
        import_minihack()
        with ThreadPoolExecutor(num_threads) as executor:
            for game in executor.map(Game, families):
                self.give_back(game)

    def close(self) -> None:
        """Close the games that wait. Twice is fine."""
        with self._lock:
            games = list(self._idle.values())
            self._idle.clear()
        for game in games:
            game.close()
