"""The toy problem: laws of Gates, split in two; the facts in a batch; loops on many laws, and their scores. No torch.

The loops are a small version of the protocol of `metagym.evaluation`, for a tiny model: single calls would take most of
the time, so at each meta-step the reflections on all laws are sampled in one batch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from metagym.env import MetaEnv
from metagym.envs.gates.env import FAMILIES, GATES, WAYS
from metagym.envs.gates.meta import GatesMetaEnv
from metagym.envs.instructions import Instruction, read_instructions, write_instructions
from metagym.reflectors import read_reflection
from metagym.types import Message, MetaStep, Record, Trajectory, derive_seed

if TYPE_CHECKING:
    from metagym.training.policy import Policy

NUM_TEST_LAWS = 96
_ORDER = sorted(range(len(FAMILIES)), key=lambda number: derive_seed("learnable problem", number))
TEST_LAWS = tuple(FAMILIES[number] for number in _ORDER[:NUM_TEST_LAWS])
"""Held-out laws: their *combinations* are not in `TRAIN_LAWS`. Each single (gate, way) is in both: if words were held
out, a policy could improve by suppressing them."""
TRAIN_LAWS = tuple(FAMILIES[number] for number in _ORDER[NUM_TEST_LAWS:])

WritePrompts = Callable[[Sequence[Sequence[MetaStep]]], list[str]]
"""Writes the next prompt of each of several loops; it gets their histories."""
MAX_NEW_TOKENS = 56
"""A full reply of the tiny reflector takes 38 tokens."""
_TRIED = re.compile(r"You (\w+)\. The (\w+) gate (opens|stays shut(?:, and a landslide)?)")
SHOWN_ATTEMPTS = 2
"""Attempts per gate that the tiny reflector reads: the last ones of the batch. Earlier ones would only make its input
longer. The Bayes reflector reads all."""


class GateAttempt(NamedTuple):
    """An attempt at a gate, and its outcome."""

    gate: str
    outcome: str
    """`opens`, `shut` or `landslide`."""
    way: str


class GradedGatesMetaEnv(GatesMetaEnv):
    """Gates with partial credit: the score is gates passed per step, 1.0 on a road without an error.

    For training only: with plain success, all candidates of most groups would fail, and such groups carry no
    signal. Results on held-out laws are plain success, as in `MetaGym/Gates-v0`.
    """

    def score(self, trajectory: Trajectory) -> float:
        """Return the number of distinct gates passed, per step (at least four steps); invalid actions are steps."""
        # Distinct gates: after an invalid action the same text is shown again. When each text counted, GRPO
        # exploited this, and wrote instructions for actions that do not exist.
        passed = {attempt.gate for attempt in _attempts(trajectory) if attempt.outcome == "opens"}
        return len(passed) / max(len(GATES), len(trajectory.steps))


def revealed(trajectories: Iterable[Trajectory], *, limit: int | None = None) -> tuple[GateAttempt, ...]:
    """Return the facts of the law that the trajectories reveal: each attempt once, sorted by gate and way.

    With `limit`, only the last `limit` attempts at each gate. They are sorted, since in the order of play the last
    way at a gate is the one that opened it: a reader could find it without any outcome.
    """
    found: dict[GateAttempt, None] = {}  # in the order of each attempt's last time
    for trajectory in trajectories:
        for attempt in _attempts(trajectory):
            found.pop(attempt, None)
            found[attempt] = None
    kept: list[GateAttempt] = []
    for gate in GATES:
        at_gate = [attempt for attempt in found if attempt.gate == gate]
        kept += sorted(at_gate[-limit:] if limit else at_gate, key=lambda attempt: WAYS.index(attempt.way))
    return tuple(kept)


def _attempts(trajectory: Trajectory) -> list[GateAttempt]:
    texts = [step.observation.text for step in trajectory.steps]
    if trajectory.final_observation is not None:
        texts.append(trajectory.final_observation.text)
    matches = (_TRIED.search(text) for text in texts)
    return [GateAttempt(found[2], found[3].split()[-1], found[1]) for found in matches if found]


def permute_attempt_outcomes(attempts: Sequence[GateAttempt], rng: np.random.Generator) -> tuple[GateAttempt, ...]:
    """Return the attempts with permuted outcomes: the null control at test time."""
    order = rng.permutation(len(attempts))
    return tuple(
        attempt._replace(outcome=attempts[int(index)].outcome) for attempt, index in zip(attempts, order, strict=True)
    )


def instructed(prompt: str) -> dict[str, str]:
    """Return the way that a prompt instructs for each gate; of several, the first."""
    ways: dict[str, str] = {}
    for item in read_instructions(prompt):
        ways.setdefault(item.condition.removeprefix("the gate is "), item.do)
    return ways


def prompt_of(ways: dict[str, str]) -> str:
    """Return a prompt that instructs these ways, with the gates in their fixed order."""
    lines = write_instructions(Instruction(f"the gate is {gate}", ways[gate]) for gate in GATES if gate in ways)
    return lines.replace("- ", "")


def compact_messages(meta_step: MetaStep, *, permuted_by: np.random.Generator | None = None) -> list[Message]:
    """Return the reflector's conversation for a tiny model: the instructions of the prompt, the facts of the batch.

    It is one line of facts (`oak told knock; oak opens knock`) of about forty tokens; the full rendering of a batch
    takes a thousand. With `permuted_by`, the outcomes are permuted among the attempts.
    """
    attempts = revealed(meta_step.trajectories, limit=SHOWN_ATTEMPTS)
    if permuted_by is not None:
        attempts = permute_attempt_outcomes(attempts, permuted_by)
    ways, lines = instructed(meta_step.prompt), ["seen"]
    for gate in GATES:
        lines += [f"{gate} told {ways[gate]}"] if gate in ways else []
        lines += [f"{gate} {attempt.outcome} {attempt.way}" for attempt in attempts if attempt.gate == gate]
    # On one line, so that the tokenizer gives a gate the same token as in an instruction.
    return [{"role": "user", "content": "; ".join(lines)}]


def bayes_prompt(history: Sequence[MetaStep], rng: np.random.Generator) -> str:
    """Return the prompt of the Bayes reflector: for each gate a way of the highest posterior probability.

    Over the laws, the way that opens a gate is uniform on six ways, independent of the other gates and of the ways
    that backfire. So the posterior is a point mass on the way that opened the gate, if there was one, else uniform
    on the ways that did not fail. The whole history is read; ties are drawn from `rng`.
    """
    facts = {attempt for meta_step in history for attempt in revealed(meta_step.trajectories)}
    ways = {}
    for gate in GATES:
        opened = [fact.way for fact in facts if fact.gate == gate and fact.outcome == "opens"]
        failed = {fact.way for fact in facts if fact.gate == gate}
        left = [way for way in WAYS if way not in failed]
        ways[gate] = opened[0] if opened else left[int(rng.integers(len(left)))]
    return prompt_of(ways)


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
        known = {item.task.id for meta_step in history for item in meta_step.trajectories}
        tasks = env.task_set.draw(5, rng=_rng("final", seed, law), families=[law], split="test", exclude=known)
        finals += [_score(meta_step) for meta_step in env.replay([prompt], [task.id for task in tasks])]
    online = tuple(float(np.mean([_score(history[index]) for history in histories])) for index in range(num_steps))
    return HeldOut(online=online, final=float(np.mean(finals)))


def write_with(policy: Policy, *, seed: int, permuted: bool = False) -> WritePrompts:
    """Return a function that writes prompts with the policy, sampled at temperature 1.

    With `permuted`, the outcomes in its input are permuted: a control that shows whether the policy reads them.
    """

    def write(histories: Sequence[Sequence[MetaStep]]) -> list[str]:
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


def _score(meta_step: MetaStep) -> float:
    assert meta_step.reward is not None  # a scripted actor has no infrastructure that can fail
    return meta_step.reward


def _rng(*parts: int | str) -> np.random.Generator:
    return np.random.default_rng(derive_seed(*parts))
