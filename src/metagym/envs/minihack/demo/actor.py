"""The scripted actor of MiniHack's demo: it obeys at most the first four instructions of its prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from metagym.envs.instructions import Instruction, check_slip, read_instructions
from metagym.envs.minihack.demo.scene import read_scene
from metagym.envs.minihack.demo.vocabulary import CONDITIONS, SKILLS, Situation
from metagym.types import Action, Episode, Observation, Step, derive_seed

DEFAULT_PROMPT = """\
You are the hero of a NetHack level, shown as text: @ is you, . is floor, | and - are walls, # is a corridor,
+ is a closed door, < and > are stairs up and down, letters are monsters, and other signs are things.
North is up. A monster or a thing on stairs hides them. Squares that are not drawn are unknown, or rock. You attack a
monster by a step towards it. Reach the goal in few steps. At each step choose exactly one of the available actions.
While a menu or a question is open, the available actions are its answers; `continue` shows the rest of a message."""
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
        self.fingerprint = {"actor": "minihack demo", "version": 1, "slip": self._slip}

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
        rivals: dict[str, list[Instruction]] = {}
        for instruction in read_instructions(prompt):
            if instruction.condition in CONDITIONS and CONDITIONS[instruction.condition](situation):
                rivals.setdefault(instruction.condition, []).append(instruction)
        for instructions in rivals.values():
            instruction = instructions[len(steps) % len(instructions)]
            skill = SKILLS.get(instruction.do)
            action = skill(situation, instruction.condition) if skill else None
            if action in situation.available:
                return action, str(instruction)
        return None, ""


def _situation(steps: Sequence[Step], observation: Observation) -> Situation | None:
    texts = [*(step.observation.text for step in steps), observation.text]
    scenes = [scene for text in texts if (scene := read_scene(text)) is not None]
    if not scenes:
        return None
    visited = frozenset(scene.hero for scene in scenes)
    # The floor of a dark room is visible only beside the hero, so it is remembered.
    floor = {square: symbol for scene in scenes for square, symbol in scene.floor.items()}
    # A window may cover the map: then the last visible map is used.
    known = replace(scenes[-1], squares={**floor, **dict.fromkeys(visited, "."), **scenes[-1].squares})
    return Situation(
        scene=known,
        available=observation.available_actions or (),
        visited=visited,
        doors=frozenset().union(*(scene.doors for scene in scenes)),
        spots=frozenset().union(*(scene.spots for scene in scenes)),
        last_command=(steps[-1].command or "") if steps else "",
    )


def _pace(seed: int, index: int, available: Sequence[str]) -> str | None:
    # Walk to and fro. If a question is open, leave it.
    forth = sorted(_OPPOSITE)[derive_seed(seed, "pace") % len(_OPPOSITE)]
    step = f"step {forth if index % 2 == 0 else _OPPOSITE[forth]}"
    return next((name for name in (step, "cancel", "continue", "no", *available) if name in available), None)
