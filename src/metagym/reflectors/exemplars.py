"""Exemplars: the agent's own successful episodes as examples in its prompt. It needs no model.

Source: Sarukkai, Xie, Fatahalian, "Self-Generated In-Context Examples Improve LLM Agents for Sequential Decision-Making
Tasks", arXiv 2505.00234 (2025). A database gathers successful trajectories, and the agent sees similar ones at each
step. The paper also selects whole databases among several agents, and single exemplars by the success of their readers.
How ours departs: one database, and no selection among several. Similar examples under `MEMORY_HEADING` are picked once
per task, by words (the paper: by embeddings, at each step). Above `max_exemplars` the least useful one is removed: the
smallest share of the episodes that read it succeeded. Thoughts are shown only with `show_thoughts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from metagym.reflectors.method import History, ReflectionMethod, has_succeeded, memory_of, option
from metagym.reflectors.prompt_document import MEMORY_HEADING, as_item, distinct, document
from metagym.rendering import render_trajectory
from metagym.types import Reflection, Trajectory


@dataclass(eq=False, repr=False)
class Exemplars(ReflectionMethod):
    """Keeps successful episodes. Memory: `{"exemplars": [{"text", "num_read", "num_won"}]}`, the oldest first."""

    model: None = field(default=None, init=False, compare=False)
    _: KW_ONLY
    max_exemplars: int = option(8, least=1)
    exemplar_tokens: int = option(500, least=1)
    show_thoughts: bool = False

    async def reflect(self, history: History) -> Reflection:
        """Update the counts of the examples by the last batch, and add its successes."""
        last, memory = history[-1], memory_of(history) or {"exemplars": []}
        known = [count_use(exemplar, last.trajectories) for exemplar in memory["exemplars"]]
        successes = [
            render_trajectory(item, show_thoughts=self.show_thoughts, max_tokens=self.exemplar_tokens)
            for item in filter(has_succeeded, last.trajectories)
        ]
        texts = [f"An episode that succeeded:\n{text}" for text in successes]
        new = distinct(texts, [exemplar["text"] for exemplar in known])
        exemplars = [*known, *({"text": text, "num_read": 0, "num_won": 0} for text in new)]
        while len(exemplars) > self.max_exemplars:
            exemplars.remove(min(exemplars, key=usefulness))  # of equals the oldest
        prompt = document(history[0].prompt, {MEMORY_HEADING: [exemplar["text"] for exemplar in exemplars]})
        analysis = f"{len(new)} new examples; {len(exemplars)} are kept."
        return self.write(history, prompt, {"exemplars": exemplars}, analysis=analysis)


def count_use(exemplar: dict[str, Any], trajectories: Sequence[Trajectory]) -> dict[str, Any]:
    """Return the exemplar with its counts: the episodes that read it, and those of them that succeeded."""
    item = as_item(exemplar["text"])
    readers = [trajectory for trajectory in trajectories if trajectory.score is not None and item in _read(trajectory)]
    num_read = exemplar["num_read"] + len(readers)
    num_won = exemplar["num_won"] + sum(map(has_succeeded, readers))
    return {**exemplar, "num_read": num_read, "num_won": num_won}


def usefulness(exemplar: dict[str, Any]) -> float:
    """Return the share of successes among the episodes that read it, closer to one half the fewer there are."""
    return float((exemplar["num_won"] + 1) / (exemplar["num_read"] + 2))


def _read(trajectory: Trajectory) -> str:
    picked = [step.action.prompt_read for step in trajectory.steps if step.action.prompt_read is not None]
    everything = [trajectory.episode.prompt] if trajectory.steps else []
    return "\n".join(picked or everything)
