"""What the engine costs beside a bare asyncio loop: an echo environment, a model that answers at once.

64 episodes in flight, 20 steps each, observations of 2,000 characters, 10 actions, full history, full
records. The bare loop builds the same messages and the same frozen records, and nothing else. Interleaved
runs in one process; CPU time.

    python benchmarks/engine_overhead.py [--episodes 64] [--runs 7]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Sequence
from typing import Any

import gymnasium

import metagym
from metagym.actor import REPLY_FORMAT, ChatActor
from metagym.models import Call
from metagym.rollout import RolloutConfig, RolloutEngine
from metagym.spaces import TextSpace
from metagym.types import (
    Action,
    Completion,
    Episode,
    Message,
    Observation,
    Step,
    StopReason,
    Task,
    Trajectory,
    Usage,
)
from metagym.workers import LocalWorkers

NUM_STEPS, ACTIONS = 20, tuple(f"do thing {number}" for number in range(10))
TEXT = "You see a thing. " * 118  # 2,006 characters
REPLY = Completion(text="Thought: Let me see.\nAction: do thing 3", usage=Usage(prompt_tokens=9, num_calls=1))


class Echo(gymnasium.Env[str, str]):
    def __init__(self) -> None:
        self.observation_space = TextSpace()
        self.action_space = TextSpace()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        self._count = 0
        return TEXT, {"goal": "Go on.", "available_actions": ACTIONS}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self._count += 1
        info = {"goal": "Go on.", "available_actions": ACTIONS, "success": self._count == NUM_STEPS}
        return f"{action}: {TEXT}", 0.0, self._count == NUM_STEPS, False, info


class InstantModel:
    """Answers at once, and books nothing: what a call costs the ledger is measured with the client."""

    keeps_ledger = True

    async def complete(self, messages: Sequence[Message], call: Call) -> Completion:
        return REPLY


async def bare_episode(episode: Episode, env: Echo, model: InstantModel) -> Trajectory:
    text, info = env.reset(seed=episode.task.seed)
    messages: list[Message] = [{"role": "system", "content": f"{episode.prompt}\n\n{REPLY_FORMAT}"}]
    steps = []
    head, done = f"Goal: {info['goal']}\n\n", False
    observation = Observation(text=text, goal=info["goal"], available_actions=info["available_actions"])
    while not done:
        turn = f"{head}{observation.text}\n\nAvailable actions: {', '.join(observation.available_actions or ())}"
        messages.append({"role": "user", "content": turn})
        completion = await model.complete(messages, Call("actor"))
        messages.append({"role": "assistant", "content": completion.text})
        thought, _, command = completion.text.partition("\nAction: ")
        action = Action(text=command, thought=thought, completion=completion)
        text, reward, done, _, info = env.step(command)
        steps.append(Step(observation=observation, action=action, command=command, is_valid=True, reward=reward))
        observation = Observation(text=text, goal=info["goal"], available_actions=info["available_actions"])
        head = ""
    return Trajectory(
        episode=episode,
        steps=tuple(steps),
        final_observation=observation,
        stop_reason=StopReason.TERMINATED,
        success=True,
        score=1.0,
    )


async def play_bare(episodes: Sequence[Episode]) -> list[Trajectory]:
    model = InstantModel()
    return await asyncio.gather(*(bare_episode(episode, Echo(), model) for episode in episodes))


async def play_engine(engine: RolloutEngine, episodes: Sequence[Episode]) -> Sequence[Trajectory]:
    return await engine.run(episodes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=64)
    parser.add_argument("--runs", type=int, default=7)
    arguments = parser.parse_args()
    tasks = [Task(id=f"echo/{i}", family="echo", split="train", seed=i) for i in range(arguments.episodes)]
    episodes = [Episode(prompt="Be quick.", task=task, seed=task.seed) for task in tasks]
    engine = RolloutEngine(ChatActor(InstantModel()), LocalWorkers(Echo), config=RolloutConfig(max_steps=NUM_STEPS))
    micros: dict[str, list[float]] = {"engine": [], "bare": []}
    for _ in range(arguments.runs):
        for name, play in (("engine", lambda: play_engine(engine, episodes)), ("bare", lambda: play_bare(episodes))):
            start = time.process_time()
            played = asyncio.run(play())
            num_steps = sum(len(item.steps) for item in played)
            micros[name].append((time.process_time() - start) / num_steps * 1e6)
            assert num_steps == NUM_STEPS * len(episodes)
    engine_us, bare_us = (statistics.median(micros[name]) for name in ("engine", "bare"))
    print(f"metagym {metagym.__version__}, {arguments.episodes} episodes of {NUM_STEPS} steps, {len(TEXT)} characters")
    print(f"engine {engine_us:.1f} us CPU a step, bare loop {bare_us:.1f} us: {engine_us / bare_us:.2f} times")


if __name__ == "__main__":
    main()
