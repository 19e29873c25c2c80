"""Branches: the answers to other actions, at every step of recorded episodes. No torch.

Early experience (Zhang et al. 2025, arXiv 2510.08558) tunes an agent on the states that its own alternatives lead to,
without any reward: to foresee the effect of an action, and to compare it with that of the action taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import Any

import gymnasium
import numpy as np

from metagym.actor import ChatActor
from metagym.actor.chat import prompt_sent
from metagym.errors import ConfigError
from metagym.types import Trajectory, derive_seed
from metagym.workers import Frame
from metagym.workers.local import HostedEnv


def branches(
    trajectories: Iterable[Trajectory],
    make_inner_env: Callable[[], gymnasium.Env[Any, Any]],
    actor: ChatActor,
    *,
    num_actions: int = 3,
    seed: int = 0,
) -> Iterator[dict[str, Any]]:
    """Yield a turn for each action tried at each step: its completion is the environment's answer.

    At a step these are the action that was taken, and up to `num_actions` others of the list, drawn by `seed`. The
    messages are those that the actor got, and the action as its reply. `taken` says which is the recorded one; turns
    of the same `group` branch from the same step. Each branch is played from the start of its task.
    """
    with closing(HostedEnv(make_inner_env)) as env:
        for number, trajectory in enumerate(trajectories):
            for index, step in enumerate(trajectory.steps):
                if step.command is None:
                    continue
                if step.observation.available_actions is None:
                    raise ConfigError(
                        f"Expected lists of available actions, got nothing in {trajectory.task.id!r}. Only "
                        "environments that list them can be branched."
                    )
                rng = np.random.default_rng(derive_seed("branches", seed, trajectory.task.id, index))
                others = [action for action in step.observation.available_actions if action != step.command]
                drawn = rng.permutation(len(others))[:num_actions]
                prompt = prompt_sent(trajectory.episode.prompt, step)
                messages = actor.messages(prompt, trajectory.steps[:index], step.observation)
                for action in (step.command, *(others[place] for place in sorted(drawn))):
                    frame = _play(env, trajectory, index, action)
                    yield {
                        "role": "environment",
                        "messages": [*messages, {"role": "assistant", "content": f"Action: {action}"}],
                        "completion": frame.text,
                        "reward": frame.reward,
                        "group": f"{trajectory.task.id}/{number}/{index}",
                        "taken": action == step.command,
                        "token_ids": None,
                        "logprobs": None,
                    }


def _play(env: HostedEnv, trajectory: Trajectory, index: int, action: str) -> Frame:
    env.reset(trajectory.task)
    for step in trajectory.steps[:index]:
        if step.command is not None:
            env.step(step.command)
    return env.step(action)
