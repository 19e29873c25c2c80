"""64 MiniHack episodes at zero latency through MetaEnv, beside two bare loops that play the same.

    re-seeded   one text environment, re-seeded for each episode: the limit of what an engine can reach
    new         a new NLE environment for each episode, as a loop over `gym.make(id, seeds=[seed])` has it

All play the same levels by the same choices of actions. The first two read the same text, the third reads
NLE's screen. Interleaved runs;
printed are medians and the ratios to them.

    python benchmarks/minihack_speed.py [--quick] [--episodes 64] [--runs 5]
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Sequence

import gymnasium as gym
from measuring import Row, interleaved, median_ratio, run

from metagym.envs.minihack.engine import import_minihack
from metagym.envs.minihack.env import MiniHackTextEnv
from metagym.envs.minihack.meta import MiniHackMetaEnv
from metagym.types import Action, Episode, Observation, Step

MAX_STEPS = 25
KEYS = ("tty_chars", "glyphs", "message", "blstats", "inv_strs", "inv_letters")


def choose(available: Sequence[str], turn: int) -> str:
    """Return an action that costs nothing to choose, and walks about."""
    return available[turn * 7 % len(available)]


class Walker:
    """The same choice as an actor."""

    scripted = True

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        return Action(text=choose(observation.available_actions or (), len(steps)))


def play_bare(episodes: Sequence[Episode]) -> int:
    """Play in one text environment, without an engine and without records; return the number of steps."""
    num_steps = 0
    env = MiniHackTextEnv(display=False)
    for episode in episodes:
        _, info = env.reset(seed=episode.task.seed, options={"task_id": episode.task.id})
        for turn in range(MAX_STEPS):
            _, _, terminated, truncated, info = env.step(choose(info["available_actions"], turn))
            num_steps += 1
            if terminated or truncated:
                break
    env.close()
    return num_steps


def play_new(episodes: Sequence[Episode]) -> int:
    """Play in a new environment for each seed, as MiniHack's users do; return the number of steps."""
    num_steps = 0
    for episode in episodes:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            env = gym.make(episode.task.family, seeds=[episode.task.seed], observation_keys=KEYS)
            observation, _ = env.reset()
            for turn in range(MAX_STEPS):
                "\n".join(bytes(row).decode("latin-1").rstrip() for row in observation["tty_chars"])
                observation, _, terminated, truncated, _ = env.step(turn * 7 % env.action_space.n)
                num_steps += 1
                if terminated or truncated:
                    break
            env.close()
    return num_steps


def measure(arguments: argparse.Namespace) -> list[Row]:
    import_minihack()
    env = MiniHackMetaEnv(
        actor=Walker(), episodes_per_step=arguments.episodes, max_steps=MAX_STEPS, display=False, max_concurrency=64
    )
    env.reset(seed=0)
    episodes = env.new_meta_episode(env.np_random).episodes("")
    steps: dict[str, int] = {}

    def timed(name: str, play: Callable[[], int]) -> Callable[[], float]:
        def one() -> float:
            start = time.perf_counter()
            steps[name] = play()
            return time.perf_counter() - start

        return one

    contenders = {
        "MetaEnv": timed("MetaEnv", lambda: sum(len(item.steps) for item in env.play(episodes))),
        "re-seeded": timed("re-seeded", lambda: play_bare(episodes)),
        "new": timed("new", lambda: play_new(episodes)),
    }
    interleaved(contenders, 1)  # the first run makes games and imports
    found = interleaved(contenders, 2 if arguments.quick else arguments.runs)
    env.close()
    assert steps["MetaEnv"] == steps["re-seeded"], steps
    rates = {name: steps[name] / statistics.median(seconds) for name, seconds in found.items()}
    return [
        *(Row(f"MiniHack, {name}", rate, "steps/s", note=f"{steps[name]} steps") for name, rate in rates.items()),
        Row("MiniHack, time of MetaEnv / time of the bare re-seeded loop", median_ratio(found, "MetaEnv", "re-seeded")),
        Row("MiniHack, time with a new environment each / time of MetaEnv", median_ratio(found, "new", "MetaEnv")),
    ]


if __name__ == "__main__":
    run(measure, __doc__, episodes=64, runs=5)
