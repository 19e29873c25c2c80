"""Gates' demo: a scripted actor and a scripted reflector. They need no model, and read the same texts as a model.

The actor obeys at most four instructions `when the gate is <oak | iron | stone | glass>, <way>` (see
`metagym.envs.instructions`). At a gate it first follows the instructions for that gate, each once, in their order;
then it tries the other ways in the listed order. So a wrong instruction costs one turn or three.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from metagym.envs.gates.env import GATES
from metagym.envs.instructions import Instruction, check_slip, draw_slip, read_instructions, rewrite
from metagym.types import Action, Episode, MetaStep, Observation, Reflection, Step

_AT_GATE = re.compile(r"You stand before the (\w+) gate")
_TRIED = re.compile(r"You (\w+)\. The (\w+) gate (opens|stays shut)")


class GatesDemoActor:
    """Tries the ways one after another, first those that the prompt names.

    With probability `slip` an action is replaced by a random way.
    """

    scripted = True

    def __init__(self, *, slip: float = 0.0) -> None:
        self.slip = check_slip(slip)
        self.fingerprint = {"kind": "GatesDemoActor", "slip": self.slip}

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        """Return the next way to try at this gate."""
        ways = observation.available_actions or ()
        if slipped := draw_slip(self.slip, ways, seed=episode.seed, num_steps=len(steps)):
            return Action(text=slipped, thought="My foot slips.")
        gate = gate_in(observation.text)
        tried = {step.action.text for step in steps if gate_in(step.observation.text) == gate}
        for instruction in read_instructions(episode.prompt):
            if instruction.condition == f"the gate is {gate}" and instruction.do not in tried:
                return Action(text=instruction.do, thought=f"The prompt says: {instruction}.")
        for way in ways:
            if way not in tried:
                return Action(text=way, thought="I try what I have not tried here.")
        return Action(text=ways[0] if ways else None, thought="I have tried everything.")


class GatesDemoReflector:
    """Finds, by rules, which way opened which gate, and adds one instruction per meta-step.

    It reads only the last meta-step. It drops an instruction that failed more often than it opened a gate. Of the
    gates without an instruction, the one that opened most often gets one.
    """

    scripted = True
    fingerprint = {"kind": "GatesDemoReflector"}

    async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
        """Return the prompt with at most one instruction added."""
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
        kept = [item for item in instructions if not failed[_gate_and_way(item)] > opened[_gate_and_way(item)]]
        dropped = [item for item in instructions if item not in kept]
        covered = {_gate_and_way(item)[0] for item in kept}
        opening = sorted((-count, gate, way) for (gate, way), count in opened.items() if gate not in covered)
        added = [Instruction(f"the gate is {gate}", way) for _, gate, way in opening[:1] if gate in GATES]
        return rewrite(last.prompt, added=added, dropped=dropped)


def gate_in(text: str) -> str:
    """Return the gate in front of the traveller; empty if the text names no gate."""
    found = _AT_GATE.search(text)
    return found[1] if found else ""


def _gate_and_way(instruction: Instruction) -> tuple[str, str]:
    return instruction.condition.removeprefix("the gate is "), instruction.do
