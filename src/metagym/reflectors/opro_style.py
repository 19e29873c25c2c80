"""OPRO style: the model sees the prompts tried so far with their scores, in rising order, and proposes new ones.

Source: Yang et al., "Large Language Models as Optimizers", arXiv 2309.03409 (2023). The meta-prompt holds the best 20
instructions with their training accuracies, worst first, and a few exemplars of the task; each step samples
eight new instructions, and each is scored on a part of the training set.

How ours departs: a prompt is scored by the batch of fresh tasks that it is played on, one prompt a meta-step, so that
scores of different prompts come from different tasks; a prompt played again has the mean of its batches. The
`num_candidates` proposals of a request come in one reply and are played in turn, and the next request follows when all
were. The wording is ours, and the score's scale is the environment's own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from metagym.errors import ConfigError
from metagym.models import ChatModel
from metagym.reflectors.document import distinct, tagged
from metagym.reflectors.exchange import ask_once, is_scripted, keep, memory_of, write
from metagym.reflectors.reading import CUT_OFF
from metagym.rendering import render_batch
from metagym.seeding import describe
from metagym.spaces import PromptSpace
from metagym.types import MetaStep, Reflection

INSTRUCTIONS = """\
You search for the system prompt under which an agent scores highest in an environment. You see prompts that were \
tried, each with its mean score, the worst first and the best last, and a few episodes that were played under the \
latest one. Propose {num_candidates} new prompts, each different from all those tried and from each other, that you \
expect to score higher than the best. They will be used on new tasks of the same kind.

Write each of them in full, between tags:
<prompt>
...
</prompt>"""

_PROPOSED = re.compile(r"<prompt>\s*(.*?)\s*</prompt>", re.DOTALL)


class ScoredPrompt(NamedTuple):
    """A prompt that was tried."""

    prompt: str
    score: float
    """Mean reward of the meta-steps played under it."""


class OproStyle:
    """Proposes prompts from scored ones and plays them in turn. Memory: `{"queue": [prompt]}`, those not yet played.

    What was scored is read from the history itself. Of the last batch `num_episodes` episodes are shown.
    """

    def __init__(
        self,
        model: ChatModel,
        *,
        num_candidates: int = 4,
        max_scored: int = 20,
        num_episodes: int = 3,
        max_tokens: int = 8_000,
    ) -> None:
        if num_candidates < 1 or max_scored < 1:
            raise ConfigError(f"Expected num_candidates and max_scored >= 1, got {num_candidates} and {max_scored}.")
        self.model, self.num_candidates, self.max_scored = model, num_candidates, max_scored
        self.num_episodes, self.max_tokens = num_episodes, max_tokens
        self.instructions = INSTRUCTIONS.format(num_candidates=num_candidates)
        self.scripted = is_scripted(model)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What decides the proposals."""
        return {
            "kind": "opro_style",
            "model": describe(self.model),
            "instructions": self.instructions,
            "max_scored": self.max_scored,
            "episodes": [self.num_episodes, self.max_tokens],
        }

    async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
        """Return the next proposal; where none is left, ask for new ones."""
        queue = (memory_of(history) or {"queue": []})["queue"]
        if queue:
            analysis = f"The next of the proposals; {len(queue) - 1} are left."
            return write(history, queue[0], {"queue": queue[1:]}, analysis=analysis, model=self.model)
        completion = await ask_once(self.model, history, self.instructions, self.text(history))
        if completion.finish_reason == "length":
            return keep(history, CUT_OFF, [completion], model=self.model)
        legal = [text for text in _PROPOSED.findall(completion.text) if not PromptSpace().problem(text)]
        new = distinct(legal, [meta_step.prompt for meta_step in history])[: self.num_candidates]
        if not new:
            problem = "The reply holds no new prompt between <prompt> and </prompt>"
            return keep(history, problem, [completion], model=self.model)
        analysis = f"{len(new)} new proposals."
        return write(history, new[0], {"queue": new[1:]}, [completion], analysis=analysis, model=self.model)

    def text(self, history: Sequence[MetaStep]) -> str:
        """Return what is shown: the scored prompts in rising order, and a few episodes of the last batch."""
        tried = "\n\n".join(
            f"<tried score={item.score:.2f}>\n{item.prompt}\n</tried>"
            for item in scored_prompts(history)[-self.max_scored :]
        )
        shown = history[-1].trajectories[: self.num_episodes]
        return tagged(tried_prompts=tried, episodes=render_batch(shown, max_tokens=self.max_tokens))


def scored_prompts(history: Sequence[MetaStep]) -> list[ScoredPrompt]:
    """Return the prompts with their mean rewards in rising order; equals stay in the order in which they were tried."""
    rewards: dict[str, list[float]] = {}
    for meta_step in history:
        if meta_step.reward is not None:
            rewards.setdefault(meta_step.prompt, []).append(meta_step.reward)
    means = [ScoredPrompt(prompt, float(np.mean(values))) for prompt, values in rewards.items()]
    return sorted(means, key=lambda item: item.score)
