"""ReasoningBank style: titled memory items from successes and failures, picked per task by the actor.

Source: Ouyang et al., "ReasoningBank: Scaling Agent Self-Evolving with Reasoning Memory", arXiv 2509.25140 (2025).
After each task a model judges whether it was solved, and extracts at most three items (title, description, content):
from a success what worked, from a failure what would have prevented it. Items are appended; before a task, the most
similar ones are retrieved by embeddings and put into the system prompt. (Its scaling of test-time compute is not here.)

How ours departs: the bank is one document under `MEMORY_HEADING`. An actor with `retrieve_items` picks from it by
words; any other actor reads all of it. The environment decides what succeeded; with `self_judge=True` the outcome is
hidden and a model judges, as in the paper. An item that the bank already holds is not appended again. Above
`max_items` the oldest are removed. The wording is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Literal

from pydantic import BaseModel

from metagym.reflectors.document import MEMORY_HEADING, document, latest, tagged
from metagym.reflectors.method import ModelRequest, ReflectionMethod, has_succeeded, memory_of, option
from metagym.reflectors.reading import read_json_reply
from metagym.rendering import render_trajectory
from metagym.types import Completion, MetaStep, Reflection, Trajectory

MAX_PER_EPISODE = 3

JUDGE = """\
You judge whether an agent reached the goal of its episode. Go by what the environment showed, not by what the agent \
says of itself.

Reply with one JSON mapping: {"reason": "<why>", "verdict": "success" or "failure"}"""

EXTRACT = """\
You draw lessons from an episode that an agent played in an environment. The episode is a {outcome}. {aim} \
Write at most three memory items, each of use for other tasks of the same kind: nothing that belongs to this one only.

Reply with one JSON mapping:
{{"items": [{{"title": "<a few words>", "description": "<one sentence: when it is of use>",
            "content": "<what to do, in one to three sentences>"}}]}}"""
AIMS = {
    "success": "Say why it worked, as a strategy that can be used again.",
    "failure": "Say what went wrong, and what would have prevented it.",
}


class Verdict(BaseModel):
    """The judge's reply."""

    verdict: Literal["success", "failure"]


class MemoryItem(BaseModel):
    """One item of the bank."""

    title: str
    description: str = ""
    content: str


class Extract(BaseModel):
    """The model's reply to an episode."""

    items: list[MemoryItem]


@dataclass(eq=False, repr=False)
class ReasoningBankStyle(ReflectionMethod):
    """Keeps titled items, up to three from each episode. Memory: `{"items": [{"title", "description", "content"}]}`.

    It makes one call per episode (two with `self_judge`), all at once. Replies that cannot be read are left out; if
    none can be read, prompt and memory do not change.
    """

    _: KW_ONLY
    self_judge: bool = False
    max_items: int = option(60, least=1)
    max_tokens: int = 8_000
    wording = (EXTRACT, *AIMS.values(), JUDGE)

    async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
        """Extract items from each episode of the last meta-step, and append them."""
        trajectories = [item for item in history[-1].trajectories if item.score is not None]
        shown = [
            tagged(episode=render_trajectory(item, show_outcome=not self.self_judge, max_tokens=self.max_tokens))
            for item in trajectories
        ]
        outcomes, verdicts, problems = await self._outcomes(history, trajectories, shown)
        requests = [
            ModelRequest(EXTRACT.format(outcome=outcome, aim=AIMS[outcome]), text)
            for text, outcome in zip(shown, outcomes, strict=True)
            if outcome is not None
        ]
        replies = await self.ask_all(history, requests, first=len(verdicts))
        completions = [*verdicts, *replies]
        read = [read_json_reply(reply, Extract) for reply in replies]
        problems += [problem for extract, problem in read if extract is None]
        extracts = [extract for extract, _ in read if extract is not None]
        analysis = f"{len(problems)} replies could not be read: {problems[0]}." if problems else ""
        if not extracts:
            return self.keep(history, problems[0] if problems else "", completions, analysis=analysis)
        items: list[dict[str, str]] = (memory_of(history) or {"items": []})["items"]
        for extract in extracts:
            new = [item.model_dump() for item in extract.items[:MAX_PER_EPISODE]]
            items = [*items, *(item for item in new if item not in items and item["content"].strip())]
        items = latest(items, self.max_items)
        prompt = document(history[0].prompt, {MEMORY_HEADING: map(render_item, items)})
        return self.write(history, prompt, {"items": items}, completions, analysis=analysis)

    async def _outcomes(
        self, history: Sequence[MetaStep], trajectories: Sequence[Trajectory], shown: Sequence[str]
    ) -> tuple[list[str | None], list[Completion], list[str]]:
        """Return each episode's outcome (None if the judge's reply cannot be read), the replies, the problems."""
        if not self.self_judge:
            return ["success" if has_succeeded(item) else "failure" for item in trajectories], [], []
        replies = await self.ask_all(history, [ModelRequest(JUDGE, text, role="judge") for text in shown])
        read = [read_json_reply(reply, Verdict) for reply in replies]
        outcomes: list[str | None] = [None if verdict is None else verdict.verdict for verdict, _ in read]
        return outcomes, replies, [problem for verdict, problem in read if verdict is None]


def render_item(item: dict[str, str]) -> str:
    """Return an item as the actor reads it: its title and its use, then its content.

    >>> print(render_item({"title": "Gates", "description": "At a gate.", "content": "Knock."}))
    **Gates** At a gate.
    Knock.
    """
    return f"**{item['title'].strip()}** {item['description'].strip()}".strip() + f"\n{item['content']}"
