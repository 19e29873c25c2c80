"""Exemplars: the agent's own successful episodes as examples in its prompt. It needs no model.

Source: Sarukkai, Xie, Fatahalian, "Self-Generated In-Context Examples Improve LLM Agents for Sequential Decision-Making
Tasks", arXiv 2505.00234 (2025). Successful trajectories are gathered in a database and shown as examples where they
are similar; on top of that, whole databases are selected between several agents, and single exemplars by how often
the episodes that read them succeeded.

How ours departs: there is one database, and no selection between several. Examples stand under `MEMORY_HEADING`; an
actor with `retrieve_items` picks similar ones per task by words (the paper: by embeddings, at each step), any other
reads them all. Above `max_exemplars` the one of the least use goes: of the episodes that read it, the smallest
share succeeded. Examples hold observations and actions, no thoughts, unless `show_thoughts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from metagym.errors import ConfigError
from metagym.reflectors.document import MEMORY_HEADING, as_item, distinct, document
from metagym.reflectors.exchange import has_succeeded, memory_of, write
from metagym.rendering import render_trajectory
from metagym.types import MetaStep, Reflection, Trajectory

Exemplar = dict[str, Any]


class Exemplars:
    """Keeps successful episodes. Memory: `{"exemplars": [{"text", "num_read", "num_won"}]}`, the oldest first."""

    scripted = False

    def __init__(self, *, max_exemplars: int = 8, exemplar_tokens: int = 500, show_thoughts: bool = False) -> None:
        if max_exemplars < 1:
            raise ConfigError(f"max_exemplars must be at least 1, got {max_exemplars}.")
        self.max_exemplars, self.exemplar_tokens, self.show_thoughts = max_exemplars, exemplar_tokens, show_thoughts

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What decides the examples."""
        return {
            "kind": "exemplars",
            "max_exemplars": self.max_exemplars,
            "exemplar_tokens": self.exemplar_tokens,
            "show_thoughts": self.show_thoughts,
        }

    async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
        """Count what the examples did for the last batch, and add its successes."""
        last = history[-1]
        known = [
            count_use(exemplar, last.trajectories)
            for exemplar in (memory_of(history) or {"exemplars": []})["exemplars"]
        ]
        won = [self._text(item) for item in last.trajectories if has_succeeded(item)]
        new = distinct(won, [exemplar["text"] for exemplar in known])
        exemplars = [*known, *({"text": text, "num_read": 0, "num_won": 0} for text in new)]
        while len(exemplars) > self.max_exemplars:
            exemplars.remove(min(exemplars, key=usefulness))  # of equals the oldest
        prompt = document(history[0].prompt, {MEMORY_HEADING: [exemplar["text"] for exemplar in exemplars]})
        analysis = f"{len(new)} new examples; {len(exemplars)} are kept."
        return write(history, prompt, {"exemplars": exemplars}, analysis=analysis)

    def _text(self, trajectory: Trajectory) -> str:
        told = render_trajectory(trajectory, show_thoughts=self.show_thoughts, max_tokens=self.exemplar_tokens)
        return f"An episode that succeeded:\n{told}"


def count_use(exemplar: Exemplar, trajectories: Sequence[Trajectory]) -> Exemplar:
    """Return the exemplar with the episodes counted that read it, and those of them that succeeded."""
    item = as_item(exemplar["text"])
    readers = [trajectory for trajectory in trajectories if trajectory.score is not None and item in _read(trajectory)]
    num_won = sum(map(has_succeeded, readers))
    return {
        **exemplar,
        "num_read": exemplar["num_read"] + len(readers),
        "num_won": exemplar["num_won"] + num_won,
    }


def usefulness(exemplar: Exemplar) -> float:
    """Return the share of the episodes that read it which succeeded, drawn to one half where few did.

    >>> usefulness({"text": "", "num_read": 0, "num_won": 0}), usefulness({"text": "", "num_read": 2, "num_won": 0})
    (0.5, 0.25)
    """
    return float((exemplar["num_won"] + 1) / (exemplar["num_read"] + 2))


def _read(trajectory: Trajectory) -> str:
    """Return the part of the prompt that the actor read: what it picked, else all of it."""
    if not trajectory.steps:
        return ""
    picked = [step.action.prompt_read for step in trajectory.steps if step.action.prompt_read is not None]
    return "\n".join(picked) if picked else trajectory.episode.prompt
