"""The toy problem: the laws of Gates, split in two; what a batch reveals; the closed-form Bayes reflector. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from metagym.envs.gates.env import FAMILIES, GATES, WAYS
from metagym.envs.gates.meta import GatesMetaEnv
from metagym.envs.instructions import Instruction, read_instructions, write_instructions
from metagym.types import Message, MetaStep, Trajectory, derive_seed

NUM_TEST_LAWS = 96
_ORDER = sorted(range(len(FAMILIES)), key=lambda number: derive_seed("learnable problem", number))
TEST_LAWS = tuple(FAMILIES[number] for number in _ORDER[:NUM_TEST_LAWS])
"""Held-out laws: their *combinations* are not in `TRAIN_LAWS`. Each single (gate, way) is in both: if words were held
out, a policy could improve by suppressing them."""
TRAIN_LAWS = tuple(FAMILIES[number] for number in _ORDER[NUM_TEST_LAWS:])

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
    """Return what the trajectories reveal of the law: each attempt once, sorted by gate and way.

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
