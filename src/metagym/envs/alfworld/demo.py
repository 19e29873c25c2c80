"""ALFWorld, played and reflected upon by scripts: they need no model, and they read only what a model would.

The actor can walk, take and put down. Whatever else it does, its prompt must say, in at most four
instructions (see `metagym.envs.instructions`): `when <condition>, <do>`. The conditions are `something is
closed` and `the task says WORD or WORD ...`; what can be done is in `DEEDS`. An instruction that is wrong
for a task is obeyed all the same, and costs steps or the object's state.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from metagym.envs.alfworld.player import Goal, Player, Skills, read_goal, remember
from metagym.envs.instructions import MAX_INSTRUCTIONS, Instruction, read_instructions
from metagym.types import Action, Episode, MetaStep, Observation, Reflection, Step, Trajectory

CLOSED = "something is closed"
DEEDS = {
    "open": "open it and look inside",
    "clean": "clean it in the sinkbasin first",
    "heat": "heat it in the microwave first",
    "cool": "cool it in the fridge first",
    "lamp": "use the lamp",
    "second": "fetch the other one too",
}
"""The skills, and the words that call for them."""
LESSONS = {
    "open": Instruction(CLOSED, DEEDS["open"]),
    "clean": Instruction("the task says clean", DEEDS["clean"]),
    "heat": Instruction("the task says hot or heat", DEEDS["heat"]),
    "cool": Instruction("the task says cool", DEEDS["cool"]),
    "lamp": Instruction("the task says look or examine", DEEDS["lamp"]),
    "second": Instruction("the task says two", DEEDS["second"]),
}
"""The instruction that each skill needs."""

_SKILL_OF = {deed: skill for skill, deed in DEEDS.items()}
_WORD = re.compile(r"\w+")


def called_for(instructions: Sequence[Instruction], goal: str) -> list[str]:
    """Return the skills that the instructions call for under a goal, in their order.

    >>> called_for([LESSONS["open"], LESSONS["heat"], LESSONS["clean"]], "put a hot mug in cabinet.")
    ['open', 'heat']
    """
    words = set(_WORD.findall(goal.lower()))
    skills = []
    for condition, do in instructions:
        named = set(condition.removeprefix("the task says ").split(" or "))
        applies = condition == CLOSED if _SKILL_OF.get(do) == "open" else not named.isdisjoint(words)
        if do in _SKILL_OF and applies:
            skills.append(_SKILL_OF[do])
    return list(dict.fromkeys(skills))


class ALFWorldDemoActor:
    """Searches, takes and puts down; opens, cleans, heats, cools, lights and fetches twice where it is told to.

    With `slip`, each action is replaced by a random available one with that probability.
    """

    scripted = True

    def __init__(self, *, slip: float = 0.0) -> None:
        if not 0.0 <= slip <= 1.0:
            raise ValueError(f"slip must be a probability, got {slip}.")
        self.slip = slip

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What decides the play."""
        return {"kind": "ALFWorldDemoActor", "slip": self.slip}

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        """Return the next command."""
        available, goal = observation.available_actions or (), read_goal(observation.goal)
        if goal is None or not available:
            return Action(text=None, problem="I do not understand this task.")
        if self.slip:
            rng = np.random.default_rng((episode.seed, len(steps)))
            if rng.random() < self.slip:
                return Action(text=available[int(rng.integers(len(available)))], thought="My hand slips.")
        told = called_for(read_instructions(episode.prompt), observation.goal)
        skills = Skills(
            opens="open" in told,
            treatments=tuple(skill for skill in told if skill in ("clean", "heat", "cool")),
            uses_lamp="lamp" in told,
            fetches_second="second" in told,
        )
        command = Player(goal, skills, remember(steps, observation), available).next_command()
        return Action(text=command, thought=f"I was told to {', '.join(told)}." if told else "")


class Episodes(NamedTuple):
    """How often, in failed episodes, a skill was missing, and how often one was used where it harmed."""

    missing: Counter[str]
    harmful: Counter[str]


class ALFWorldDemoReflector:
    """Finds by rules what failed episodes lacked, and adds one instruction a time, up to the four that are read.

    It goes by the last meta-step alone. What was never found, or could not be put down, while something
    stood closed, calls for opening; what was held and never cleaned, heated, cooled or lit, for that. An
    instruction that was seen to change an object in a way that its task did not ask for is dropped, and so
    is one of the demo's grammar that nothing understands.
    """

    scripted = True
    fingerprint = {"kind": "ALFWorldDemoReflector"}

    async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
        """Return the prompt with what was learned from the last meta-step."""
        last = history[-1]
        found = _examine(last.trajectories)
        instructions = read_instructions(last.prompt, limit=None)
        dropped = [item for item in instructions if item.do not in _SKILL_OF or found.harmful[_SKILL_OF[item.do]]]
        kept = [item for item in instructions if item not in dropped]
        known = {_SKILL_OF[item.do] for item in kept if item in LESSONS.values()}
        news = [skill for skill in LESSONS if found.missing[skill] and skill not in known]
        # The most often missed first; of equals, the first in the order of LESSONS.
        news.sort(key=lambda skill: -found.missing[skill])
        added = [LESSONS[skill] for skill in news[:1]] if len(kept) < MAX_INSTRUCTIONS else []

        lines = [line for line in last.prompt.splitlines() if not any(_is_line_of(line, item) for item in dropped)]
        lines += [f"- {item}" for item in added]
        said = (", ".join(map(str, items)) or "nothing" for items in (added, dropped))
        analysis = "Added: {}. Dropped: {}.".format(*said)
        return Reflection(prompt="\n".join(lines), analysis=analysis, scripted=True)


def _is_line_of(line: str, instruction: Instruction) -> bool:
    return instruction in read_instructions(line, limit=None)


def _examine(trajectories: Sequence[Trajectory]) -> Episodes:
    found = Episodes(Counter(), Counter())
    for trajectory in trajectories:
        last = trajectory.final_observation
        goal = read_goal(last.goal) if last is not None else None
        if goal is None or last is None or trajectory.success:
            continue
        memory = remember(trajectory.steps, last)
        used = {treatment for treatment, _ in memory.treated}
        found.harmful.update(used - {goal.treatment})
        skill = _missing_skill(trajectory, goal, used, has_closed=bool(memory.closed))
        if skill:
            found.missing[skill] += 1
    return found


def _missing_skill(trajectory: Trajectory, goal: Goal, used: set[str], *, has_closed: bool) -> str:
    """Return the one skill whose want explains the failure best; empty where none does."""
    commands = [step.command or "" for step in trajectory.steps]
    took = any(command.startswith(f"take {goal.target} ") for command in commands)
    put = any(command.startswith((f"move {goal.target} ", f"put {goal.target} ")) for command in commands)
    opened = any(command.startswith("open ") for command in commands)
    if took and goal.treatment and goal.treatment not in used:
        return goal.treatment
    if took and goal.lamp and not any(command.startswith(f"use {goal.lamp}") for command in commands):
        return "lamp"
    if put and goal.number > 1:
        return "second"
    return "open" if has_closed and not opened else ""
