"""Planted reflectors, whose true effect on Gates is known, and an actor that can follow notes on a single level."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from metagym.envs.gates.demo import GatesDemoActor, gate_in
from metagym.envs.gates.env import GATES, WAYS, law_of
from metagym.types import Action, Episode, MetaStep, Observation, Reflection, Step, derive_seed

PLAIN = "Walk the road."


def right_prompt(family: str, num_gates: int = 4) -> str:
    law = law_of(family)
    return "\n".join([PLAIN, *(f"- when the gate is {GATES[i]}, {law.opens[i]}" for i in range(num_gates))])


class Planted:
    scripted = True

    def __init__(self) -> None:
        self.fingerprint = {"kind": type(self).__name__}

    def write(self, last: MetaStep) -> str:
        raise NotImplementedError

    async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
        return Reflection(prompt=self.write(history[-1]), scripted=True)


class Oracle(Planted):
    """Knows the law of the family: the truth is a gain near 1."""

    def write(self, last: MetaStep) -> str:
        return right_prompt(last.trajectories[0].task.family)


class Identity(Planted):
    """Changes nothing: the truth is 0."""

    def write(self, last: MetaStep) -> str:
        return last.prompt


class Degrader(Planted):
    """Names at each gate the way that backfires: the truth is a loss."""

    def write(self, last: MetaStep) -> str:
        law = law_of(last.trajectories[0].task.family)
        return "\n".join([PLAIN, *(f"- when the gate is {g}, {w}" for g, w in zip(GATES, law.backfires, strict=True))])


class RandomRewriter(Planted):
    """Writes random instructions, whatever happened."""

    def write(self, last: MetaStep) -> str:
        rng = np.random.default_rng(derive_seed("rewrite", *(item.episode.seed for item in last.trajectories)))
        return "\n".join([PLAIN, *(f"- when the gate is {gate}, {rng.choice(WAYS)}" for gate in GATES)])


class KeywordDump(Planted):
    """Pastes every instruction there is; the actor obeys the first four."""

    def write(self, last: MetaStep) -> str:
        return "\n".join([PLAIN, *(f"- when the gate is {gate}, {way}" for gate in GATES for way in WAYS)])


class Memoriser(Planted):
    """Notes what opened at this very place of this very road, and nothing that holds on another one."""

    def write(self, last: MetaStep) -> str:
        law = law_of(last.trajectories[0].task.family)
        places = [step.observation for item in last.trajectories for step in item.steps]
        notes = dict.fromkeys(f"{place_of(seen)}: {law.opens[GATES.index(gate_in(seen.text))]}" for seen in places)
        return "\n".join([PLAIN, *notes])


class Reader(GatesDemoActor):
    """The demo actor, which also follows notes on a single place: `at <gate> with <ways>: <way>`."""

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        place = place_of(observation)
        note = re.search(rf"^{re.escape(place)}: (\w+)$", episode.prompt, re.MULTILINE)
        tried = {step.action.text for step in steps if place_of(step.observation) == place}
        if note and note[1] not in tried:
            return Action(text=note[1])
        return await super().act(episode, steps, observation)


def place_of(observation: Observation) -> str:
    return f"at {gate_in(observation.text)} with {'/'.join(observation.available_actions or ())}"


def leaker(env: Any) -> Any:
    """A reflector that tries its prompt on test tasks before it writes it."""

    def leak(history: Sequence[MetaStep]) -> str:
        families = list({item.task.family for item in history[-1].trajectories})
        tasks = env.task_set.draw(200, rng=np.random.default_rng(0), families=families, split="test")
        env.replay([history[-1].prompt], [task.id for task in tasks])
        return history[-1].prompt

    return leak
