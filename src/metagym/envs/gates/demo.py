"""Gates, played and reflected upon by scripts: they need no model, and they read only what a model would.

The actor obeys `when the gate is <oak | iron | stone | glass>, <way>`, at most four of them (see
`metagym.envs.instructions`). At a gate it first does what the instructions for that gate say, in their
order, each once; then it tries the other ways as they are listed. So a wrong instruction costs a turn
(or three), and a contradiction costs one as well.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from metagym.envs.gates.laws import GATES
from metagym.envs.instructions import Instruction, read_instructions
from metagym.types import Action, Episode, MetaStep, Observation, Reflection, Step

_AT_GATE = re.compile(r"You stand before the (\w+) gate")
_TRIED = re.compile(r"You (\w+)\. The (\w+) gate (opens|stays shut)")


class GatesDemoActor:
    """Tries the ways one after another, those that the prompt names first.

    With `slip`, each action is replaced by a random way with that probability.
    """

    scripted = True

    def __init__(self, *, slip: float = 0.0) -> None:
        if not 0.0 <= slip <= 1.0:
            raise ValueError(f"slip must be a probability, got {slip}.")
        self.slip = slip

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What decides the play."""
        return {"kind": "GatesDemoActor", "slip": self.slip}

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        """Return the next way to try at this gate."""
        ways = observation.available_actions or ()
        if self.slip and ways:
            rng = np.random.default_rng((episode.seed, len(steps)))
            if rng.random() < self.slip:
                return Action(text=ways[int(rng.integers(len(ways)))], thought="My foot slips.")
        gate = gate_in(observation.text)
        tried = {step.action.text for step in steps if gate_in(step.observation.text) == gate}
        for instruction in read_instructions(episode.prompt):
            if instruction.condition == f"the gate is {gate}" and instruction.do not in tried:
                return Action(text=instruction.do, thought=f"I was told: {instruction}.")
        for way in ways:
            if way not in tried:
                return Action(text=way, thought="I try what I have not tried here.")
        return Action(text=ways[0] if ways else None, thought="I have tried everything.")


class GatesDemoReflector:
    """Finds by rules which way opened which gate, and adds one instruction a time.

    It goes by the last meta-step alone. An instruction that was seen to fail is dropped; of the gates
    without an instruction, the one that was seen to open most often gets one.
    """

    scripted = True
    fingerprint = {"kind": "GatesDemoReflector"}

    async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
        """Return the prompt with what was learned from the last meta-step."""
        last = history[-1]
        opened: Counter[tuple[str, str]] = Counter()
        failed: Counter[tuple[str, str]] = Counter()
        for trajectory in last.trajectories:
            texts = [step.observation.text for step in trajectory.steps]
            if trajectory.final_observation is not None:
                texts.append(trajectory.final_observation.text)
            for way, gate, outcome in (found.groups() for text in texts if (found := _TRIED.search(text))):
                (opened if outcome == "opens" else failed)[(gate, way)] += 1

        instructions = read_instructions(last.prompt, limit=None)
        kept = [item for item in instructions if not failed[_what(item)] > opened[_what(item)]]
        dropped = [item for item in instructions if item not in kept]
        covered = {_what(item)[0] for item in kept}
        news = sorted((-count, gate, way) for (gate, way), count in opened.items() if gate not in covered)
        added = [Instruction(f"the gate is {gate}", way) for _, gate, way in news[:1] if gate in GATES]

        lines = [line for line in last.prompt.splitlines() if not any(str(item) in line for item in dropped)]
        lines += [f"- {item}" for item in added]
        analysis = (
            f"Added {', '.join(map(str, added)) or 'nothing'}; dropped {', '.join(map(str, dropped)) or 'nothing'}."
        )
        return Reflection(prompt="\n".join(lines), analysis=analysis, scripted=True)


def gate_in(text: str) -> str:
    """Return the gate that the text says one stands before; empty where it names none."""
    found = _AT_GATE.search(text)
    return found[1] if found else ""


def _what(instruction: Instruction) -> tuple[str, str]:
    return instruction.condition.removeprefix("the gate is "), instruction.do
