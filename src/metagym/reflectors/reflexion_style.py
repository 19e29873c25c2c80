"""Reflexion style: after failures the model writes itself a verbal lesson, and the last few lessons are kept.

Source: Shinn et al., "Reflexion: Language Agents with Verbal Reinforcement Learning", arXiv 2303.11366 (2023). There an
agent tries one task again and again; after each failed trial it reflects in words, and the last one to three
reflections stand in its context at the next trial.

How ours departs: by default the next batch is of *fresh* tasks, so that a lesson must hold beyond its task. With
`schedule="same"` and one episode a meta-step it is the paper's setting: retries of one task. One lesson is written per
meta-step, over all of its failed episodes; success is the environment's word, not a model's. The wording is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from metagym.errors import ConfigError
from metagym.models import ChatModel
from metagym.reflectors.document import document, request
from metagym.reflectors.exchange import ask_once, has_succeeded, is_scripted, keep, memory_of, write
from metagym.reflectors.reading import read_marked
from metagym.seeding import describe
from metagym.types import MetaStep, Reflection

INSTRUCTIONS = """\
You look back on your own failures. You acted in an environment under the system prompt below, and the episodes that \
you see did not succeed. Say where each went wrong, and what you would have had to do in its place. Then write \
yourself a short lesson for the next attempts: concrete, and no repetition of what the prompt already says.

Reply in this form:
ANALYSIS: <where it went wrong, and why>
LESSON: <the lesson, a few lines at most, and nothing after it>"""


class ReflexionStyle:
    """Keeps the last `num_lessons` lessons, one from each meta-step with failures. Memory: `{"lessons": [text]}`."""

    def __init__(self, model: ChatModel, *, num_lessons: int = 3, max_tokens: int = 24_000) -> None:
        if num_lessons < 1:
            raise ConfigError(f"num_lessons must be at least 1, got {num_lessons}.")
        self.model, self.num_lessons, self.max_tokens = model, num_lessons, max_tokens
        self.scripted = is_scripted(model)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What decides the lessons."""
        return {
            "kind": "reflexion_style",
            "model": describe(self.model),
            "instructions": INSTRUCTIONS,
            "num_lessons": self.num_lessons,
            "max_tokens": self.max_tokens,
        }

    async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
        """Write a lesson from the last meta-step's failures; without any, nothing is asked and nothing changes."""
        last = history[-1]
        counted = [item for item in last.trajectories if item.score is not None]
        failures = tuple(item for item in counted if not has_succeeded(item))
        if not failures:
            return keep(history, "", analysis="No episode failed: there is nothing to learn from.", model=self.model)
        text = request(last.model_copy(update={"trajectories": failures}), self.max_tokens)
        completion = await ask_once(self.model, history, INSTRUCTIONS, text)
        analysis, lesson, problem = read_marked(completion, "lesson")
        if lesson is None:
            return keep(history, problem, [completion], analysis=analysis, model=self.model)
        lessons = [*(memory_of(history) or {"lessons": []})["lessons"], lesson][-self.num_lessons :]
        prompt = document(history[0].prompt, {"## Lessons from earlier failures": lessons})
        return write(history, prompt, {"lessons": lessons}, [completion], analysis=analysis, model=self.model)
