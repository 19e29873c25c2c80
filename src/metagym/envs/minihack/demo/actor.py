"""The scripted actor of MiniHack's demo: it obeys at most the first four instructions of its prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from metagym.envs.instructions import Instruction, check_slip, read_instructions
from metagym.envs.minihack.demo.scene import Square, read_scene
from metagym.envs.minihack.demo.vocabulary import CONDITIONS, SKILLS, Situation
from metagym.types import Action, Episode, Observation, Step, derive_seed

DEFAULT_PROMPT = """\
You are the hero of a NetHack level, shown as text: @ is you, . is floor, | and - are walls, # is a corridor,
+ is a closed door, < and > are stairs up and down, letters are monsters, and other signs are things.
Reach the goal in few steps. At each step choose exactly one of the available actions. While a menu or a
question is open, the available actions are its answers."""
"""The first prompt of a meta-episode: it explains the signs and gives no advice."""

_OPPOSITE = {"n": "s", "s": "n", "e": "w", "w": "e", "ne": "sw", "sw": "ne", "nw": "se", "se": "nw"}


class MiniHackDemoActor:
    """A scripted actor that obeys its prompt. It holds no state, so one object may play all episodes.

    It follows the first instruction whose condition holds and whose skill returns an action. If two instructions have
    the same condition, it alternates between them from step to step. If no instruction applies, it walks to and fro
    between two squares. With probability `slip` it chooses a random action, drawn from the episode's seed and the
    number of the step.
    """

    scripted = True

    def __init__(self, slip: float = 0.0) -> None:
        self._slip = check_slip(slip)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Everything that decides the actions."""
        return {"actor": "minihack demo", "version": 1, "slip": self._slip}

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        """Return the action that the prompt asks for."""
        available = observation.available_actions or ()
        index = len(steps)
        if available and derive_seed(episode.seed, "slip", index) < self._slip * 2**31:
            slipped = available[derive_seed(episode.seed, "slip to", index) % len(available)]
            return Action(text=slipped, thought="slipped")
        text, thought = self._obey(episode.prompt, steps, observation)
        if text in available:
            return Action(text=text, thought=thought)
        return Action(text=_pace(episode.seed, index, available), thought="no instruction fits")

    def _obey(self, prompt: str, steps: Sequence[Step], observation: Observation) -> tuple[str | None, str]:
        situation = _situation(steps, observation)
        if situation is None:
            return None, ""
        holding = [
            instruction
            for instruction in read_instructions(prompt)
            if (holds := CONDITIONS.get(instruction.condition)) is not None and holds(situation)
        ]
        for instruction in _alternate(holding, len(steps)):
            skill = SKILLS.get(instruction.do)
            action = skill(situation, instruction.condition) if skill else None
            if action in situation.available:
                return action, str(instruction)
        return None, ""


def _alternate(holding: Sequence[Instruction], index: int) -> list[Instruction]:
    chosen: list[Instruction] = []
    for condition in dict.fromkeys(instruction.condition for instruction in holding):
        rivals = [instruction for instruction in holding if instruction.condition == condition]
        chosen.append(rivals[index % len(rivals)])
    return chosen


def _situation(steps: Sequence[Step], observation: Observation) -> Situation | None:
    scene = read_scene(observation.text)
    before = [read_scene(step.observation.text) for step in steps]
    # A window may cover the map: then the last visible map is used.
    known = scene or next((past for past in reversed(before) if past is not None), None)
    if known is None:
        return None
    visited: set[Square] = set()
    doors: set[Square] = set()
    spots: set[Square] = set()
    floor: dict[Square, str] = {}
    for past in (*before, scene):
        if past is not None:
            visited.add(past.hero)
            doors.update(past.doors)
            spots.update(past.spots)
            # The floor of a dark room is visible only beside the hero, so it is remembered.
            floor.update(past.floor)
    known = replace(known, squares={**floor, **dict.fromkeys(visited, "."), **known.squares})
    return Situation(
        scene=known,
        available=observation.available_actions or (),
        visited=frozenset(visited),
        doors=frozenset(doors),
        spots=frozenset(spots),
        last_command=(steps[-1].command or "") if steps else "",
    )


def _pace(seed: int, index: int, available: Sequence[str]) -> str | None:
    """Walk to and fro. If a question is open, leave it."""
    forth = sorted(_OPPOSITE)[derive_seed(seed, "pace") % len(_OPPOSITE)]
    step = f"step {forth if index % 2 == 0 else _OPPOSITE[forth]}"
    for name in (step, "cancel", "continue", "no"):
        if name in available:
            return name
    return available[0] if available else None
