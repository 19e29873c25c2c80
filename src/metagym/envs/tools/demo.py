"""Scripted actors that know the right calls, and the demo's reflector. None of them is a language model.

The expert plays the benchmark's own solution. The demo actor does so too, but forgets functions: a function is
remembered if one of the first four instructions `when it helps, call NAME` of the prompt names it, or by chance.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from metagym.envs.instructions import Instruction, read_instructions, rewrite
from metagym.envs.tools.benchmark import load_tasks
from metagym.types import Action, Episode, MetaStep, Observation, Reflection, Step, derive_seed

DONE = "That is done."
FORGETS = 0.3
"""The probability that the demo actor forgets a function in an episode."""
_FORGOTTEN = re.compile(r"I forget (\w+)\.")


class ToolsExpert:
    """Plays the solution of each task: its calls, then a text at the end of each turn."""

    scripted = True
    fingerprint = {"kind": "ToolsExpert"}

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        """Return the next action of the solution."""
        return next(itertools.islice(self.plan(episode), len(steps), None), Action(text=DONE))

    def plan(self, episode: Episode) -> Iterator[Action]:
        """Yield all actions of the episode."""
        for turn in load_tasks()[episode.task.id].solution:
            yield from (Action(text=call.text) for call in turn)
            yield Action(text=DONE)


class ToolsDemoActor(ToolsExpert):
    """Plays the solution, without the functions that it forgets; its thought at the end of a turn names them."""

    fingerprint = {"kind": "ToolsDemoActor"}

    def plan(self, episode: Episode) -> Iterator[Action]:
        """Yield all actions of the episode."""
        named = {item.do.removeprefix("call ") for item in read_instructions(episode.prompt)}
        for turn in load_tasks()[episode.task.id].solution:
            lost = {call.name for call in turn if call.name.lower() not in named and self._forgets(episode, call.name)}
            yield from (Action(text=call.text) for call in turn if call.name not in lost)
            yield Action(text=DONE, thought=" ".join(f"I forget {name}." for name in sorted(lost)))

    def _forgets(self, episode: Episode, name: str) -> bool:
        rng = np.random.default_rng(derive_seed("forget", episode.seed, name))
        return bool(rng.random() < FORGETS)


class ToolsDemoReflector:
    """Adds an instruction for the function that was forgotten most often; keeps at most four."""

    scripted = True
    fingerprint = {"kind": "ToolsDemoReflector"}

    async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
        """Name the function in the prompt."""
        thoughts = (step.action.thought for item in history[-1].trajectories for step in item.steps)
        forgotten = Counter(name for thought in thoughts for name in _FORGOTTEN.findall(thought))
        if not forgotten:
            return Reflection(prompt=history[-1].prompt, analysis="Nothing was forgotten.", scripted=True)
        name = min(forgotten, key=lambda item: (-forgotten[item], item))
        return rewrite(history[-1].prompt, added=[Instruction("it helps", f"call {name}")], dropped=[])
