"""A memory of a stream of tasks: every episode is kept (ExpRAG), and a model may refine the memory (ReMem).

Source: Wei et al., "Evo-Memory: Benchmarking LLM Agent Test-time Learning with Self-Evolving Memory", arXiv 2511.20857
(2025). ExpRAG writes each finished task as one text (the request, the actions, the result) and retrieves similar ones.
ReMem lets the agent itself interleave thinking, acting and refining: it prunes and reorganises its memory as it works.
How ours departs: without a model it is the ExpRAG pattern, with one the ReMem pattern, refined between meta-steps and
not within an episode. Items under `MEMORY_HEADING` are picked by words, not by embeddings. Above `max_items` the oldest
are removed. Meant for one task per meta-step: `metagym evaluate --preset stream`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel

from metagym.models import ChatModel
from metagym.reflectors.method import History, ReflectionMethod, memory_of, option
from metagym.reflectors.prompt_document import MEMORY_HEADING, Verb, document, read_json_reply, tagged
from metagym.rendering import render_trajectory
from metagym.types import Completion, Reflection

REFINE = """\
You tend the memory of an agent that meets one task after another. Each entry is an episode as it was played, or what \
you made of earlier ones. Before a task, the agent reads the entries that are most similar to it. Turn raw episodes \
into what helps on similar tasks: rewrite an entry as a short, general note, merge entries that say the same, and \
prune what is of no use. Entries that you do not name stay as they are.

Reply with one JSON mapping:
{"analysis": "<what the memory lacks>",
 "operations": [{"type": "REWRITE", "ids": [1], "text": "<the note>"},
                {"type": "MERGE", "ids": [2, 3], "text": "<one note>"},
                {"type": "PRUNE", "ids": [4]}]}"""


class MemoryChange(BaseModel):
    """A change of the memory."""

    type: Annotated[Literal["REWRITE", "MERGE", "PRUNE"], Verb]
    ids: list[int]
    text: str = ""


class _Refinement(BaseModel):
    analysis: str = ""
    operations: list[MemoryChange]


@dataclass(eq=False, repr=False)
class MemoryStream(ReflectionMethod):
    """Keeps episodes, and with a model refines them. Memory: `{"items": [{"id", "text"}], "next_id": int}`."""

    model: ChatModel | None = None
    _: KW_ONLY
    max_items: int = option(40, least=1)
    max_tokens: int = option(24_000, least=1)
    """The most tokens of the entries that the model sees: the newest ones. The others stay as they are."""
    episode_tokens: int = option(400, least=1)
    wording = (REFINE,)

    async def reflect(self, history: History) -> Reflection:
        """Add the last episodes; with a model, let it refine the memory."""
        memory = memory_of(history) or {"items": [], "next_id": 1}
        counted = [item for item in history[-1].trajectories if item.score is not None]
        texts = [f"An earlier episode:\n{render_trajectory(item, max_tokens=self.episode_tokens)}" for item in counted]
        new = [{"id": memory["next_id"] + place, "text": text} for place, text in enumerate(texts)]
        items: list[dict[str, Any]] = [*memory["items"], *new]
        completions: list[Completion] = []
        analysis = f"{len(new)} new episodes."
        if self.model is not None:
            listed = "\n\n".join(newest([f"[{item['id']}] {item['text']}" for item in items], self.max_tokens))
            text = tagged(current_prompt=history[0].prompt, memory=listed or "(empty)")
            completions = [await self.ask_once(history, REFINE, text)]
            refinement, problem = read_json_reply(completions[0], _Refinement)
            if refinement is None:
                return self.keep(history, problem, completions)
            items, analysis = apply_refinement(items, refinement.operations), refinement.analysis
        items = items[-self.max_items :]
        prompt = document(history[0].prompt, {MEMORY_HEADING: [item["text"] for item in items]})
        memory = {"items": items, "next_id": memory["next_id"] + len(new)}
        return self.write(history, prompt, memory, completions, analysis=analysis)


def newest(texts: Sequence[str], max_tokens: int) -> Sequence[str]:
    """Return as many of the last texts as have at most about `max_tokens` tokens.

    >>> newest(["old", "x" * 40, "new"], 20)
    ['xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx', 'new']
    """
    first = len(texts)
    while first and (max_tokens := max_tokens - len(texts[first - 1].encode()) // 4 - 4) >= 0:
        first -= 1
    return texts[first:]


def apply_refinement(items: Sequence[dict[str, Any]], operations: Sequence[MemoryChange]) -> list[dict[str, Any]]:
    """Return the items after the operations. A note gets the place and the id of the first entry that it replaces.

    >>> merge = MemoryChange(type="MERGE", ids=[1, 2], text="c")
    >>> apply_refinement([{"id": 1, "text": "a"}, {"id": 2, "text": "b"}], [merge])
    [{'id': 1, 'text': 'c'}]
    """
    changed = {item["id"]: dict(item) for item in items}
    for operation in operations:
        ids, note = [number for number in dict.fromkeys(operation.ids) if number in changed], operation.text.strip()
        if operation.type != "PRUNE":
            if not (ids and note):
                continue
            changed[ids.pop(0)]["text"] = note
        for number in ids:
            del changed[number]
    return list(changed.values())
