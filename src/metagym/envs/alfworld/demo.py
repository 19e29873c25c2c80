"""ALFWorld's demo: a scripted actor and a scripted reflector. They need no model, and read the same texts as a model.

The actor can walk, take and put down. Every other skill must be in its prompt, in at most four instructions
`when <condition>, <do>` (see `metagym.envs.instructions`). The conditions are `something is closed` and
`the task says WORD or WORD ...`; `LESSONS` lists what can be done. The actor obeys an instruction even if it is wrong
for the task, which costs steps or spoils the object.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from metagym.envs.alfworld.expert import Goal, TextPlayer, read_goal, remember
from metagym.envs.instructions import MAX_INSTRUCTIONS, Instruction, check_slip, draw_slip, read_instructions, rewrite
from metagym.types import Action, Episode, MetaStep, Observation, Reflection, Step, Trajectory

CLOSED = "something is closed"
LESSONS = {
    "open": Instruction(CLOSED, "open it and look inside"),
    "clean": Instruction("the task says clean", "clean it in the sinkbasin first"),
    "heat": Instruction("the task says hot or heat", "heat it in the microwave first"),
    "cool": Instruction("the task says cool", "cool it in the fridge first"),
    "lamp": Instruction("the task says look or examine", "use the lamp"),
    "second": Instruction("the task says two", "fetch the other one too"),
}
"""The instruction for each skill."""

_SKILL_OF = {lesson.do: skill for skill, lesson in LESSONS.items()}
_WORD = re.compile(r"\w+")


def skills_for(instructions: Sequence[Instruction], goal: str) -> list[str]:
    """Return the skills that the instructions name for a goal, in the order of the instructions.

    >>> skills_for([LESSONS["open"], LESSONS["heat"], LESSONS["clean"]], "put a hot mug in cabinet.")
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
    """Searches, takes and puts down; it uses another skill only if the prompt names it.

    With probability `slip` an action is replaced by a random available one.
    """

    scripted = True

    def __init__(self, *, slip: float = 0.0) -> None:
        self.slip = check_slip(slip)
        self.fingerprint = {"kind": "ALFWorldDemoActor", "slip": self.slip}

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        """Return the next command."""
        available, goal = observation.available_actions or (), read_goal(observation.goal)
        if goal is None or not available:
            return Action(text=None, problem="I do not understand this task.")
        if slipped := draw_slip(self.slip, available, seed=episode.seed, num_steps=len(steps)):
            return Action(text=slipped, thought="My hand slips.")
        skills = skills_for(read_instructions(episode.prompt), observation.goal)
        command = TextPlayer(goal, skills, remember(steps, observation), available).next_command()
        return Action(text=command, thought=f"The prompt names: {', '.join(skills)}." if skills else "")


class ALFWorldDemoReflector:
    """Adds, by rules, one instruction per meta-step: the skill that most failed episodes lacked, up to four in all.

    It reads only the last meta-step. If an object was never found or put down while something was closed, the skill
    `open` is missing. If an object was held and its treatment or the lamp was never used, that skill is missing. It
    drops an instruction whose skill changed an object in a way that the task did not ask for, and an instruction
    that the actor does not understand.
    """

    scripted = True
    fingerprint = {"kind": "ALFWorldDemoReflector"}

    async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
        """Return the prompt with at most one instruction added."""
        last = history[-1]
        missed, harmful = _count_skills(last.trajectories)
        instructions = read_instructions(last.prompt, limit=None)
        dropped = [item for item in instructions if item.do not in _SKILL_OF or harmful[_SKILL_OF[item.do]]]
        kept = [item for item in instructions if item not in dropped]
        covered = {_SKILL_OF[item.do] for item in kept if item in LESSONS.values()}
        missing = [skill for skill in LESSONS if missed[skill] and skill not in covered]
        # The most frequent first; if two are equally frequent, the first in the order of LESSONS.
        missing.sort(key=lambda skill: -missed[skill])
        added = [LESSONS[skill] for skill in missing[:1]] if len(kept) < MAX_INSTRUCTIONS else []
        return rewrite(last.prompt, added=added, dropped=dropped)


def _count_skills(trajectories: Sequence[Trajectory]) -> tuple[Counter[str], Counter[str]]:
    """Return the number of failed episodes in which each skill was missing, and in which each did harm."""
    missing, harmful = Counter[str](), Counter[str]()
    for trajectory in trajectories:
        last = trajectory.final_observation
        goal = read_goal(last.goal) if last is not None else None
        if goal is None or last is None or trajectory.success:
            continue
        memory = remember(trajectory.steps, last)
        used = {treatment for treatment, _ in memory.treated}
        harmful.update(used - {goal.treatment})
        missing[_missing_skill(trajectory, goal, used, has_closed=bool(memory.closed))] += 1
    return missing, harmful


def _missing_skill(trajectory: Trajectory, goal: Goal, used: set[str], *, has_closed: bool) -> str:
    """Return the missing skill that explains the failure best; empty if no skill explains it."""
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
