"""The offline demo: a scripted actor that obeys its prompt, and a reflector that learns by rules.

Neither is a language model: what they play tests the instrument and says nothing about models. The
actor reads what any actor is told, and obeys at most the first four instructions of its prompt; the
vocabulary stands in `demo_conditions` and `demo_skills`. The reflector's rules stand in `demo_lessons`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from metagym.envs.instructions import Instruction, read_instructions
from metagym.envs.minihack.demo_conditions import CONDITIONS, Situation
from metagym.envs.minihack.demo_lessons import apply_change, choose_change
from metagym.envs.minihack.demo_scene import Square, read_scene
from metagym.envs.minihack.demo_skills import SKILLS
from metagym.errors import ConfigError
from metagym.seeding import derive_seed
from metagym.types import Action, Episode, MetaStep, Observation, Reflection, Step

DEFAULT_PROMPT = """\
You are the hero of a NetHack level, shown as text: @ is you, . is floor, | and - are walls, # is a corridor,
+ is a closed door, < and > are stairs up and down, letters are monsters, and other signs are things.
Reach the goal in few steps. At each step choose exactly one of the available actions. While a menu or a
question is open, the available actions are its answers."""
"""The prompt that a meta-episode begins with (sp_0): what the signs mean, and no advice."""

_OPPOSITE = {"n": "s", "s": "n", "e": "w", "w": "e", "ne": "sw", "sw": "ne", "nw": "se", "se": "nw"}


class MiniHackDemoActor:
    """A scripted actor, sensitive to its prompt. It holds no state: one serves all episodes.

    It carries out the first of its instructions whose condition holds and whose skill has an action to
    offer. Two instructions on one condition contradict each other: it wavers between them, step by
    step. Without a fitting instruction it paces to and fro between two squares. With probability
    `slip` it does something else: drawn from the episode's seed and the step's index alone.
    """

    scripted = True

    def __init__(self, slip: float = 0.0) -> None:
        if not 0.0 <= slip <= 1.0:
            raise ConfigError(f"slip must be a probability from 0 to 1, got {slip}.")
        self._slip = slip

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What decides how it plays."""
        return {"actor": "minihack demo", "version": 1, "slip": self._slip}

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        """Return the action that the prompt leads to."""
        available = observation.available_actions or ()
        index = len(steps)
        if available and derive_seed(episode.seed, "slip", index) < self._slip * 2**31:
            slipped = available[derive_seed(episode.seed, "slip to", index) % len(available)]
            return Action(text=slipped, thought="slipped")
        text, thought = self._obey(episode.prompt, steps, observation)
        if text in available:
            return Action(text=text, thought=thought)
        return Action(text=_dither(episode.seed, index, available), thought="no instruction fits")

    def _obey(self, prompt: str, steps: Sequence[Step], observation: Observation) -> tuple[str | None, str]:
        situation = _situation(steps, observation)
        if situation is None:
            return None, ""
        holding = [
            instruction
            for instruction in read_instructions(prompt)
            if (holds := CONDITIONS.get(instruction.condition)) is not None and holds(situation)
        ]
        for instruction in _waver(holding, len(steps)):
            skill = SKILLS.get(instruction.do)
            action = skill(situation, instruction.condition) if skill else None
            if action in situation.available:
                return action, str(instruction)
        return None, ""


def _waver(holding: Sequence[Instruction], index: int) -> list[Instruction]:
    chosen: list[Instruction] = []
    for condition in dict.fromkeys(instruction.condition for instruction in holding):
        rivals = [instruction for instruction in holding if instruction.condition == condition]
        chosen.append(rivals[index % len(rivals)])
    return chosen


def _situation(steps: Sequence[Step], observation: Observation) -> Situation | None:
    scene = read_scene(observation.text)
    before = [read_scene(step.observation.text) for step in steps]
    # A window may cover the map: what was last seen of it still holds.
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
            # The floor of a dark room is shown only beside the hero: what was seen there is remembered.
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


def _dither(seed: int, index: int, available: Sequence[str]) -> str | None:
    """Pace to and fro; before a question, leave it."""
    forth = sorted(_OPPOSITE)[derive_seed(seed, "pace") % len(_OPPOSITE)]
    pace = f"step {forth if index % 2 == 0 else _OPPOSITE[forth]}"
    for name in (pace, "cancel", "continue", "no"):
        if name in available:
            return name
    return available[0] if available else None


class MiniHackDemoReflector:
    """A scripted reflector: it finds lessons in the texts of failed episodes, and adds one at a time.

    A lesson needs evidence (stairs in sight, and yet never reached); without evidence the prompt stays.
    An instruction that is none of the known lessons is dropped where it fitted for long and the episodes
    failed; a full prompt gives up one whose condition never held of late. It reads texts, commands and
    scores; never a task's id, family, split or seed. It keeps no memory.
    """

    scripted = True

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What decides how it writes."""
        return {"reflector": "minihack demo", "version": 1}

    async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
        """Return the last prompt with at most one instruction added, and at most one dropped."""
        last = history[-1]
        change = choose_change(history)
        prompt = apply_change(last.prompt, change)
        return Reflection(prompt=prompt, analysis=change.reason, scripted=True)
