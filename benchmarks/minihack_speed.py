"""64 MiniHack episodes at zero latency through MetaEnv, beside two bare loops that play the same.

    re-seeded   one text environment, re-seeded for each episode: the limit of what an engine can reach
    new         a new NLE environment for each episode, as a loop over `gym.make(id, seeds=[seed])` has it

All play the same levels by the same choices of actions. The first two read the same text, the third reads
NLE's screen. Interleaved runs;
printed are medians and the ratios to them.

    python benchmarks/minihack_speed.py [--episodes 64] [--runs 5]
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Sequence

import gymnasium as gym

import metagym
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=64)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    import_minihack()
    env = MiniHackMetaEnv(
        actor=Walker(), episodes_per_step=arguments.episodes, max_steps=MAX_STEPS, display=False, max_concurrency=64
    )
    env.reset(seed=0)
    episodes = env.new_meta_episode(env.np_random).episodes("")
    seconds: dict[str, list[float]] = {"MetaEnv": [], "re-seeded": [], "new": []}
    steps: dict[str, int] = {}
    for run in range(arguments.runs + 1):
        start = time.perf_counter()
        trajectories = env.play(episodes)
        seconds["MetaEnv"].append(time.perf_counter() - start)
        steps["MetaEnv"] = sum(len(item.steps) for item in trajectories)
        for name, play in (("re-seeded", play_bare), ("new", play_new)):
            start = time.perf_counter()
            steps[name] = play(episodes)
            seconds[name].append(time.perf_counter() - start)
        if run == 0:  # the first run makes games and imports
            seconds = {name: [] for name in seconds}
    assert steps["MetaEnv"] == steps["re-seeded"], steps
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"metagym {metagym.__version__}, {arguments.episodes} episodes, {steps['MetaEnv']} steps")
    for name, median in medians.items():
        print(f"{name:>10} {median:7.3f} s {steps[name] / median:9.0f} steps/s")
    print(f"MetaEnv reaches {medians['re-seeded'] / medians['MetaEnv']:.0%} of the bare re-seeded loop's speed")
    print(f"MetaEnv is {medians['new'] / medians['MetaEnv']:.1f} times as fast as a new environment for each seed")
    env.close()


if __name__ == "__main__":
    main()
