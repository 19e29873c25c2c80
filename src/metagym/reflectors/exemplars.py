"""Exemplars: the agent's own successful episodes as examples in its prompt. It needs no model.

Source: Sarukkai, Xie, Fatahalian, "Self-Generated In-Context Examples Improve LLM Agents for Sequential Decision-Making
Tasks", arXiv 2505.00234 (2025). Successful trajectories are gathered in a database, and similar ones are shown as
examples. Beyond that, the paper selects whole databases among several agents, and single exemplars by how often the
episodes that read them succeeded.

How ours departs: there is one database, and no selection among several. Examples are under `MEMORY_HEADING`. An
actor with `retrieve_items` picks similar ones per task by words (the paper: by embeddings, at each step); any other
actor reads all of them. Above `max_exemplars` the least useful one is removed: the smallest share of the episodes that
read it succeeded. Examples hold observations and actions, and thoughts only with `show_thoughts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from metagym.reflectors.document import MEMORY_HEADING, as_item, distinct, document
from metagym.reflectors.method import ReflectionMethod, has_succeeded, memory_of, option
from metagym.rendering import render_trajectory
from metagym.types import MetaStep, Reflection, Trajectory

Exemplar = dict[str, Any]


@dataclass(eq=False, repr=False)
class Exemplars(ReflectionMethod):
    """Keeps successful episodes. Memory: `{"exemplars": [{"text", "num_read", "num_won"}]}`, the oldest first."""

    model: None = field(default=None, init=False, compare=False)
    _: KW_ONLY
    max_exemplars: int = option(8, least=1)
    exemplar_tokens: int = 500
    show_thoughts: bool = False

    async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
        """Count what the examples did for the last batch, and add its successes."""
        last, memory = history[-1], memory_of(history) or {"exemplars": []}
        known = [count_use(exemplar, last.trajectories) for exemplar in memory["exemplars"]]
        successes = [self._text(item) for item in last.trajectories if has_succeeded(item)]
        new = distinct(successes, [exemplar["text"] for exemplar in known])
        exemplars = [*known, *({"text": text, "num_read": 0, "num_won": 0} for text in new)]
        while len(exemplars) > self.max_exemplars:
            exemplars.remove(min(exemplars, key=usefulness))  # of equals the oldest
        prompt = document(history[0].prompt, {MEMORY_HEADING: [exemplar["text"] for exemplar in exemplars]})
        analysis = f"{len(new)} new examples; {len(exemplars)} are kept."
        return self.write(history, prompt, {"exemplars": exemplars}, analysis=analysis)

    def _text(self, trajectory: Trajectory) -> str:
        text = render_trajectory(trajectory, show_thoughts=self.show_thoughts, max_tokens=self.exemplar_tokens)
        return f"An episode that succeeded:\n{text}"


def count_use(exemplar: Exemplar, trajectories: Sequence[Trajectory]) -> Exemplar:
    """Return the exemplar with its counts: the episodes that read it, and those of them that succeeded."""
    item = as_item(exemplar["text"])
    readers = [trajectory for trajectory in trajectories if trajectory.score is not None and item in _read(trajectory)]
    num_won = sum(map(has_succeeded, readers))
    return {
        **exemplar,
        "num_read": exemplar["num_read"] + len(readers),
        "num_won": exemplar["num_won"] + num_won,
    }


def usefulness(exemplar: Exemplar) -> float:
    """Return the share of successes among the episodes that read it, closer to one half the fewer there are.

    >>> usefulness({"text": "", "num_read": 0, "num_won": 0}), usefulness({"text": "", "num_read": 2, "num_won": 0})
    (0.5, 0.25)
    """
    return float((exemplar["num_won"] + 1) / (exemplar["num_read"] + 2))


def _read(trajectory: Trajectory) -> str:
    """Return the part of the prompt that the actor read: the items that it picked, or the whole prompt."""
    if not trajectory.steps:
        return ""
    picked = [step.action.prompt_read for step in trajectory.steps if step.action.prompt_read is not None]
    return "\n".join(picked) if picked else trajectory.episode.prompt
