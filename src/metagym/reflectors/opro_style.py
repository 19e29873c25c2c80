"""OPRO style: the model sees the prompts tried so far with their scores, in rising order, and proposes new ones.

Source: Yang et al., "Large Language Models as Optimizers", arXiv 2309.03409 (2023). The meta-prompt holds the best 20
instructions with their training accuracies, worst first, and a few exemplars of the task; each step samples
eight new instructions, and each is scored on a part of the training set.
How ours departs: one prompt is played per meta-step and scored by that batch of fresh tasks, so scores of different
prompts come from different tasks; a prompt played again has the mean of its batches. The `num_candidates` proposals
come in one reply and are played in turn. The wording is ours, and the scores have the environment's own scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

import numpy as np

from metagym.bad_replies import early_end
from metagym.models import estimate_tokens
from metagym.reflectors.method import History, ReflectionMethod, memory_of, option
from metagym.reflectors.prompt_document import distinct, parts_between, tagged
from metagym.rendering import render_batch
from metagym.spaces import PromptSpace
from metagym.types import Reflection

INSTRUCTIONS = """\
You search for the system prompt under which an agent scores highest in an environment. You see prompts that were \
tried, each with its mean score, the worst first and the best last, and a few episodes that were played under the \
latest one. Propose {num_candidates} new prompts, each different from all those tried and from each other, that you \
expect to score higher than the best. They will be used on new tasks of the same kind.

Write each of them in full, between tags:
<prompt>
...
</prompt>"""


@dataclass(eq=False, repr=False)
class OproStyle(ReflectionMethod):
    """Proposes prompts from scored ones and plays them in turn. Memory: `{"queue": [prompt]}`, those not yet played.

    The scores are read from the history itself. The model sees `num_episodes` episodes of the last batch.
    Prompts and episodes have `max_tokens` together; the worst prompts are left out if all take more than half.
    """

    _: KW_ONLY
    num_candidates: int = option(4, least=1)
    max_scored: int = option(20, least=1)
    num_episodes: int = option(3, least=0)
    max_tokens: int = option(8_000, least=1)
    wording = (INSTRUCTIONS,)

    async def reflect(self, history: History) -> Reflection:
        """Return the next proposal; ask for new ones if all were returned."""
        queue = (memory_of(history) or {"queue": []})["queue"]
        if queue:
            analysis = f"The next of the proposals; {len(queue) - 1} are left."
            return self.write(history, queue[0], {"queue": queue[1:]}, analysis=analysis)
        instructions = INSTRUCTIONS.format(num_candidates=self.num_candidates)
        scored = scored_prompts(history)[-self.max_scored :]
        tried = [f"<tried score={score:.2f}>\n{prompt}\n</tried>" for prompt, score in scored]
        while len(tried) > 1 and _num_tokens(tried) > self.max_tokens // 2:
            del tried[0]  # the worst
        left = max(100, self.max_tokens - _num_tokens(tried))
        episodes = render_batch(history[-1].trajectories[: self.num_episodes], max_tokens=left)
        text = tagged(tried_prompts="\n\n".join(tried), episodes=episodes)
        completion = await self.ask_once(history, instructions, text)
        if not completion.is_whole:
            return self.keep(history, early_end(completion), [completion])
        proposed = parts_between(completion.text, "<prompt>", "</prompt>")
        legal = [text for text in proposed if not PromptSpace().problem(text)]
        new = distinct(legal, [meta_step.prompt for meta_step in history])[: self.num_candidates]
        if not new:
            return self.keep(history, "The reply holds no new prompt between <prompt> and </prompt>", [completion])
        analysis = f"{len(new)} new proposals."
        return self.write(history, new[0], {"queue": new[1:]}, [completion], analysis=analysis)


def _num_tokens(texts: Sequence[str]) -> int:
    return estimate_tokens([{"role": "user", "content": "\n\n".join(texts)}])


def scored_prompts(history: History) -> list[tuple[str, float]]:
    """Return the prompts with their mean rewards in rising order; equal ones stay in the order of their first use."""
    rewards: dict[str, list[float]] = {}
    for meta_step in history:
        if meta_step.reward is not None:
            rewards.setdefault(meta_step.prompt, []).append(meta_step.reward)
    means = [(prompt, float(np.mean(values))) for prompt, values in rewards.items()]
    return sorted(means, key=lambda item: item[1])
