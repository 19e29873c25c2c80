"""Loops on many laws of the toy problem at once: for experience, and for the scores on held-out laws.

A small version of the protocol of `metagym.evaluation`, for a tiny model: single calls would take most of the time, so
at each meta-step the reflections on all laws are sampled in one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from metagym.env import MetaEnv
from metagym.reflectors import read_reflection
from metagym.training.policy import Policy
from metagym.training_demo.gates_problem import bayes_prompt, compact_messages
from metagym.types import MetaStep, Record, derive_seed

History = Sequence[MetaStep]
WritePrompts = Callable[[Sequence[History]], list[str]]
"""Writes the next prompt of each of several loops."""
MAX_NEW_TOKENS = 56
"""A full reply of the tiny reflector takes 38 tokens."""


class HeldOut(Record):
    """The scores of a reflector on held-out laws: plain success, as in `MetaGym/Gates-v0`."""

    online: tuple[float, ...]
    """Mean score of each meta-step's batch, before the reflection on it; the first is that of `sp_0`."""
    final: float
    """Mean score of the last prompt, on fresh test tasks of its law."""


def play_loops(
    env: MetaEnv, write: WritePrompts, laws: Sequence[str], *, num_steps: int, seed: int
) -> tuple[list[list[MetaStep]], list[str]]:
    """Run a loop on each law, all at the same time; return their histories and their next prompts.

    Seed and law decide the tasks, so that all reflectors get the same ones. A loop plays no task twice.
    """
    size = env.config.episodes_per_step
    tasks = [
        env.task_set.draw(num_steps * size, rng=_rng("loop", seed, law), families=[law], split=env.config.split)
        for law in laws
    ]
    histories: list[list[MetaStep]] = [[] for _ in laws]
    prompts = [env.default_prompt] * len(laws)
    for index in range(num_steps):
        for history, batch, prompt in zip(histories, tasks, prompts, strict=True):
            ids = [task.id for task in batch[index * size : (index + 1) * size]]
            (meta_step,) = env.replay([prompt], ids)
            history.append(meta_step.model_copy(update={"index": index}))
        prompts = write(histories)
    return histories, prompts


def measure_held_out(
    env: MetaEnv, write: WritePrompts, laws: Sequence[str], *, num_steps: int = 4, seed: int = 0
) -> HeldOut:
    """Return the scores of `write` on `laws`: loops of `num_steps` reflections, then the last prompt on new tasks."""
    histories, prompts = play_loops(env, write, laws, num_steps=num_steps, seed=seed)
    finals = []
    for law, prompt, history in zip(laws, prompts, histories, strict=True):
        known = {item.task.digest for meta_step in history for item in meta_step.trajectories}
        tasks = env.task_set.draw(5, rng=_rng("final", seed, law), families=[law], split="test", exclude=known)
        finals.append(_score(env.replay([prompt], [task.id for task in tasks])[0]))
    online = tuple(float(np.mean([_score(history[index]) for history in histories])) for index in range(num_steps))
    return HeldOut(online=online, final=float(np.mean(finals)))


def write_with(policy: Policy, *, seed: int, permuted: bool = False) -> WritePrompts:
    """Return a function that writes prompts with the policy, sampled at temperature 1.

    With `permuted`, the outcomes in its input are permuted among the attempts: a control that shows whether the
    policy reads them.
    """

    def write(histories: Sequence[History]) -> list[str]:
        step = len(histories[0])
        rng = _rng("permuted", seed, step) if permuted else None
        conversations = [policy.encode(compact_messages(history[-1], permuted_by=rng)) for history in histories]
        generator = policy.generator(derive_seed("held out", seed, step))
        samples = policy.sample(conversations, max_new_tokens=MAX_NEW_TOKENS, generator=generator)
        prompts = [read_reflection(sample.completion)[1] for sample in samples]
        return [
            history[-1].prompt if prompt is None else prompt for history, prompt in zip(histories, prompts, strict=True)
        ]

    return write


def write_bayes(*, seed: int) -> WritePrompts:
    """Return a function that writes the prompts of the Bayes reflector, the upper bound of the problem."""
    return lambda histories: [bayes_prompt(history, _rng("bayes", seed, len(history))) for history in histories]


def write_constant(prompt: str) -> WritePrompts:
    """Return a function that always writes the same prompt."""
    return lambda histories: [prompt] * len(histories)


def _score(meta_step: MetaStep) -> float:
    assert meta_step.reward is not None  # a scripted actor has no infrastructure that can fail
    return meta_step.reward


def _rng(*parts: int | str) -> np.random.Generator:
    return np.random.default_rng(derive_seed(*parts))
