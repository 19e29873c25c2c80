"""ReasoningBank style: titled memory items from successes and failures, picked per task by the actor.

Source: Ouyang et al., "ReasoningBank: Scaling Agent Self-Evolving with Reasoning Memory", arXiv 2509.25140 (2025).
After each task a model judges whether it was solved, and extracts at most three items (title, description, content):
from a success what worked, from a failure what would have prevented it. Items are appended; before a task, the most
similar ones are retrieved by embeddings and put into the system prompt. (Its scaling of test-time compute is not here.)
How ours departs: items under `MEMORY_HEADING` are picked by words. The environment decides what succeeded; with
`self_judge=True` the outcome is hidden and a model judges, as in the paper. An item that the bank already holds is not
appended again. Above `max_items` the oldest are removed. The wording is ours.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal

from pydantic import BaseModel

from metagym.reflectors.method import History, ModelRequest, ReflectionMethod, has_succeeded, memory_of, option
from metagym.reflectors.prompt_document import MEMORY_HEADING, document, read_json_reply, tagged
from metagym.rendering import render_trajectory
from metagym.types import Completion, Reflection

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


class _Verdict(BaseModel):
    verdict: Literal["success", "failure"]


class _MemoryItem(BaseModel):
    title: str
    description: str = ""
    content: str


class _Extract(BaseModel):
    items: list[_MemoryItem]


@dataclass(eq=False, repr=False)
class ReasoningBankStyle(ReflectionMethod):
    """Keeps titled items, up to three from each episode. Memory: `{"items": [{"title", "description", "content"}]}`.

    It makes one call per episode (two with `self_judge`), all at once. Replies that cannot be read are left out; if
    no item can be read, prompt and memory do not change.
    """

    _: KW_ONLY
    self_judge: bool = False
    max_items: int = option(60, least=1)
    max_tokens: int = option(8_000, least=1)
    wording = (EXTRACT, *AIMS.values(), JUDGE)

    async def reflect(self, history: History) -> Reflection:
        """Extract items from each episode of the last meta-step, and append them."""
        episodes = [item for item in history[-1].trajectories if item.score is not None]
        shown = [
            tagged(episode=render_trajectory(item, show_outcome=not self.self_judge, max_tokens=self.max_tokens))
            for item in episodes
        ]
        outcomes: list[str | None] = ["success" if has_succeeded(item) else "failure" for item in episodes]
        verdicts: list[Completion] = []
        problems: list[str] = []
        if self.self_judge:
            verdicts = await self.ask_all(history, [ModelRequest(JUDGE, text, role="judge") for text in shown])
            judged = [read_json_reply(reply, _Verdict) for reply in verdicts]
            outcomes = [None if verdict is None else verdict.verdict for verdict, _ in judged]
            problems = [problem for _, problem in judged if problem]
        requests = [
            ModelRequest(EXTRACT.format(outcome=outcome, aim=AIMS[outcome]), text)
            for text, outcome in zip(shown, outcomes, strict=True)
            if outcome is not None
        ]
        replies = await self.ask_all(history, requests, first=len(verdicts))
        read = [read_json_reply(reply, _Extract) for reply in replies]
        extracts = [extract for extract, _ in read if extract is not None]
        problems += [problem for _, problem in read if problem]
        analysis = f"{len(problems)} replies could not be read: {problems[0]}." if problems else ""
        completions = [*verdicts, *replies]
        if not extracts:
            return self.keep(history, problems[0] if problems else "", completions, analysis=analysis)
        items: list[dict[str, str]] = (memory_of(history) or {"items": []})["items"]
        for extract in extracts:
            new = [item.model_dump() for item in extract.items[:MAX_PER_EPISODE]]
            items = [*items, *(item for item in new if item not in items and item["content"].strip())]
        items = items[-self.max_items :]
        prompt = document(history[0].prompt, {MEMORY_HEADING: map(_rendered, items)})
        return self.write(history, prompt, {"items": items}, completions, analysis=analysis)


def _rendered(item: dict[str, str]) -> str:
    return f"**{item['title'].strip()}** {item['description'].strip()}".strip() + f"\n{item['content']}"
