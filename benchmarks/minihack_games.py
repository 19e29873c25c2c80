"""What a MiniHack game costs: steps, re-seeding against rebuilding, many alive, and whether anything leaks.

    python benchmarks/minihack_games.py

Ratios measured side by side in one run; times alone depend on the machine.
"""

from __future__ import annotations

import os
import random
import resource
import time
from collections.abc import Callable

from metagym.envs.minihack.engine import GamePool, NetHackGame
from metagym.envs.minihack.env import MiniHackTextEnv
from metagym.envs.minihack.families import DEFAULT_FAMILIES

ROOM = "MiniHack-Room-Random-5x5-v0"


def timed(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def memory_mb() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def num_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def play(env: MiniHackTextEnv, task_id: str, num_steps: int = 25) -> int:
    choose = random.Random(task_id)
    _, info = env.reset(options={"task_id": task_id})
    for step in range(num_steps):
        _, _, terminated, truncated, info = env.step(choose.choice(info["available_actions"]))
        if terminated or truncated:
            return step + 1
    return num_steps


def compare_reseeding(num_levels: int = 100) -> None:
    env = MiniHackTextEnv()
    play(env, f"{ROOM}/0")
    reused = timed(lambda: [play(env, f"{ROOM}/{seed}") for seed in range(num_levels)])
    env.close()

    def rebuild(seed: int) -> None:
        fresh = MiniHackTextEnv()
        play(fresh, f"{ROOM}/{seed}")
        fresh.close()

    rebuilt = timed(lambda: [rebuild(seed) for seed in range(num_levels)])
    print(
        f"{num_levels} episodes of 25 steps: re-seeded {reused:.2f} s, rebuilt {rebuilt:.2f} s: "
        f"{rebuilt / reused:.1f} times"
    )


def compare_text(num_steps: int = 4000) -> None:
    game = NetHackGame(ROOM)
    game.start(1)
    keys = b"hjklyubn"

    def bare() -> None:
        for step in range(num_steps):
            if game.press(keys[step % 8]).is_over:
                game.start(1)

    bare_s = timed(bare)
    game.close()
    for name, options in {"with display": {}, "without display": {"display": False}}.items():
        env = MiniHackTextEnv(**options)  # type: ignore[arg-type]
        _, info = env.reset(options={"task_id": f"{ROOM}/1"})

        def text(env: MiniHackTextEnv = env, commands: tuple[str, ...] = info["available_actions"]) -> None:
            for step in range(num_steps):
                _, _, terminated, truncated, _ = env.step(commands[step % 8])
                if terminated or truncated:
                    env.reset(options={"task_id": f"{ROOM}/1"})

        text_s = timed(text)
        env.close()
        print(
            f"one step, {name}: {text_s / num_steps * 1e6:.0f} us; NetHack and MiniHack alone "
            f"{bare_s / num_steps * 1e6:.0f} us"
        )


def hold_many(num_games: int = 300) -> None:
    memory, descriptors = memory_mb(), num_descriptors()
    pool = GamePool(max_idle=num_games)
    one_by_one = timed(lambda: pool.prepare([ROOM] * 20, num_threads=1)) / 20
    in_threads = timed(lambda: pool.prepare([ROOM] * (num_games - 20), num_threads=4)) / (num_games - 20)
    games = [pool.take(ROOM) for _ in range(num_games)]
    for seed, game in enumerate(games):
        game.start(seed)
    print(
        f"{num_games} games alive: {(memory_mb() - memory) / num_games:.1f} MB and "
        f"{(num_descriptors() - descriptors) / num_games:.1f} file descriptors each; made in "
        f"{one_by_one * 1e3:.0f} ms each in one thread, {in_threads * 1e3:.0f} ms in four"
    )
    for game in games:
        game.close()


def play_many(num_episodes: int = 3000, *, max_idle: int) -> None:
    print(f"{num_episodes} episodes of {len(DEFAULT_FAMILIES)} families in turn, {max_idle} games kept:")
    env = MiniHackTextEnv(pool=GamePool(max_idle=max_idle))
    for episode in range(num_episodes + 1):
        if episode % (num_episodes // 6) == 0:
            print(f"  after {episode}: {memory_mb():.1f} MB, {num_descriptors()} file descriptors", flush=True)
        play(env, f"{DEFAULT_FAMILIES[episode % len(DEFAULT_FAMILIES)]}/{episode}")
    env.close()


if __name__ == "__main__":
    compare_reseeding()
    compare_text()
    play_many(max_idle=32)
    play_many(600, max_idle=2)  # too few: every episode makes a game and closes one
    hold_many()
