"""Reflexion style: after failures the model writes itself a verbal lesson, and the last few lessons are kept.

Source: Shinn et al., "Reflexion: Language Agents with Verbal Reinforcement Learning", arXiv 2303.11366 (2023). An agent
retries one task. After each failed trial it reflects in words; the next trial reads the last one to three reflections.
How ours departs: by default the next batch is of *fresh* tasks, so that a lesson must hold beyond its task. With
`schedule="same"` and one episode per meta-step it is the paper's setting. One lesson is written per meta-step, over
all of its failed episodes. The environment decides what succeeded, not a model. The wording is ours.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from metagym.reflectors.method import History, ReflectionMethod, has_succeeded, memory_of, option
from metagym.reflectors.prompt_document import document, read_marked_reply, request
from metagym.types import Reflection

INSTRUCTIONS = """\
You look back on your own failures. You acted in an environment under the system prompt below, and the episodes that \
you see did not succeed. Say where each went wrong, and what you would have had to do in its place. Then write \
yourself a short lesson for the next attempts: concrete, and no repetition of what the prompt already says.

Reply in this form:
ANALYSIS: <where it went wrong, and why>
LESSON: <the lesson, a few lines at most, and nothing after it>"""


@dataclass(eq=False, repr=False)
class ReflexionStyle(ReflectionMethod):
    """Keeps the last `num_lessons` lessons, one from each meta-step with failures. Memory: `{"lessons": [text]}`."""

    _: KW_ONLY
    num_lessons: int = option(3, least=1)
    max_tokens: int = option(24_000, least=1)
    wording = (INSTRUCTIONS,)

    async def reflect(self, history: History) -> Reflection:
        """Write a lesson from the last meta-step's failures; without failures, ask nothing and change nothing."""
        last = history[-1]
        counted = [item for item in last.trajectories if item.score is not None]
        failures = tuple(item for item in counted if not has_succeeded(item))
        if not failures:
            return self.keep(history, "", analysis="No episode failed: there is nothing to learn from.")
        text = request(last.model_copy(update={"trajectories": failures}), self.max_tokens)
        completion = await self.ask_once(history, INSTRUCTIONS, text)
        analysis, lesson, problem = read_marked_reply(completion, "lesson")
        if lesson is None:
            return self.keep(history, problem, [completion], analysis=analysis)
        lessons = [*(memory_of(history) or {"lessons": []})["lessons"], lesson][-self.num_lessons :]
        prompt = document(history[0].prompt, {"## Lessons from earlier failures": lessons})
        return self.write(history, prompt, {"lessons": lessons}, [completion], analysis=analysis)
