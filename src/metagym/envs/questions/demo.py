"""The demo of questions: a scripted pupil, who multiplies roughly unless the prompt forbids it, and a reflector."""

from __future__ import annotations

import re
from collections.abc import Sequence

from metagym.types import Action, Episode, MetaStep, Observation, Reflection, Step

ADVICE = "Multiply digit by digit."
_SAMPLE = re.compile(r"What is (\d+) ([+*]) (\d+)\?")


class QuestionsDemoActor:
    """Answers the sample's sums, and its products if the prompt advises how; it rounds other products."""

    scripted = True
    fingerprint = {"kind": "QuestionsDemoActor"}

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        """Return the pupil's answer."""
        if (found := _SAMPLE.fullmatch(observation.text)) is None:
            return Action(text="I do not know.", thought="The demo knows the sample questions only.")
        a, sign, b = int(found[1]), found[2], int(found[3])
        if sign == "+":
            return Action(text=str(a + b))
        return Action(text=str(a * b if ADVICE in episode.prompt else round(a * b, -2)))


class QuestionsDemoReflector:
    """Advises to multiply digit by digit once a product was wrong."""

    scripted = True
    fingerprint = {"kind": "QuestionsDemoReflector"}

    async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
        """Return the next prompt."""
        last = history[-1]
        is_wrong = any(item.task.family == "products" and not item.success for item in last.trajectories)
        advice = f" {ADVICE}" if is_wrong and ADVICE not in last.prompt else ""
        return Reflection(prompt=last.prompt + advice, analysis="A product was wrong." if is_wrong else "")
