"""ACE style: a playbook of short items with counters, changed by small deltas and never rewritten as a whole.

Source: Zhang et al., "Agentic Context Engineering: Evolving Contexts for Self-Improving Language Models", arXiv
2510.04618 (2025). A reflector marks which bullets helped or harmed, and a curator returns delta operations. Bullets
have an id and two counters; plain code merges them and removes duplicates, so no rewrite loses an earlier lesson.
How ours departs: one call is both reflector and curator. Items may also be changed and removed, by their id.
Duplicates are found by their words, not by embeddings. Above `max_items` the item with the smallest difference of
helpful and harmful counts is removed. The actor sees the items without ids and counters, because it is not asked which
ones it used: the reflector judges that from the episodes. The wording is ours.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel

from metagym.reflectors.method import History, ReflectionMethod, memory_of, option
from metagym.reflectors.prompt_document import Verb, distinct, document, read_json_reply, request, shown_tools
from metagym.tools import offered_tools, read_parts, section_of
from metagym.types import Reflection

INSTRUCTIONS = """\
You curate the playbook of an agent that acts in an environment. You see its items, each with its id and with how \
often it was judged helpful and harmful, and the agent's latest episodes. First judge, from the episodes, the items \
that mattered: which helped, which harmed. Then add what is missing, as short items that hold for new tasks of the \
same kind; change or remove an item only where it is wrong. What you do not name stays as it is.

Reply with one JSON mapping:
{"analysis": "<what the episodes show>",
 "tags": [{"id": 1, "tag": "helpful"}, {"id": 2, "tag": "harmful"}],
 "operations": [{"type": "ADD", "section": "<a short heading>", "text": "<one item>"},
                {"type": "UPDATE", "id": 2, "text": "<the item, corrected>"},
                {"type": "REMOVE", "id": 3}]}"""


TOOL_ITEMS = """\
The agent acts by calling tools, which you see. An item that holds for one tool goes under the heading "Tool: NAME": \
it is then added to the description of that tool."""


class _Tag(BaseModel):
    id: int
    tag: Literal["helpful", "harmful", "neutral"]


class _PlaybookChange(BaseModel):
    type: Annotated[Literal["ADD", "UPDATE", "REMOVE"], Verb]
    id: int | None = None
    section: str = "General"
    text: str = ""


class Delta(BaseModel):
    """The model's reply."""

    analysis: str = ""
    tags: list[_Tag] = []
    operations: list[_PlaybookChange]


@dataclass(eq=False, repr=False)
class AceStyle(ReflectionMethod):
    """Keeps a playbook. Memory: `{"items": [{"id", "section", "text", "helpful", "harmful"}], "next_id": int}`.

    With `show_tools` it sees the tools that the agent was offered; items under the heading `Tool: NAME` are added to
    the description of that tool.
    """

    _: KW_ONLY
    max_items: int = option(40, least=1)
    max_tokens: int = option(24_000, least=1)
    show_tools: bool = False
    wording = (INSTRUCTIONS,)

    async def reflect(self, history: History) -> Reflection:
        """Let the model judge the items and change some."""
        memory = memory_of(history) or {"items": [], "next_id": 1}
        listed = "\n".join(
            f"[{item['id']}] helpful={item['helpful']} harmful={item['harmful']} ({item['section']}) {item['text']}"
            for item in memory["items"]
        )
        tools = shown_tools(history[0]) if self.show_tools else {}  # without the items that were added since
        text = request(history[-1], self.max_tokens, playbook=listed or "(no item yet)", **tools)
        instructions = f"{INSTRUCTIONS}\n\n{TOOL_ITEMS}" if tools else INSTRUCTIONS
        completion = await self.ask_once(history, instructions, text)
        delta, problem = read_json_reply(completion, Delta)
        if delta is None:
            return self.keep(history, problem, [completion])
        memory = apply_delta(memory, delta, max_items=self.max_items)
        first = history[0].prompt
        offered = offered_tools(history[0].trajectories) if self.show_tools else ()
        functions = [tool["function"] for tool in read_parts(first, offered)[1]]
        described = {
            f"Tool: {item['name']}": section_of(item["name"], item.get("description", "")) for item in functions
        }
        sections: dict[str, list[str]] = {}
        for item in memory["items"]:
            name = " ".join(item["section"].split())
            heading = described.get(name, f"## Playbook: {name}")
            sections.setdefault(heading, []).append(item["text"])
        replaced = [tool for tool in offered if described[f"Tool: {tool['function']['name']}"] in sections]
        prompt = document(read_parts(first, replaced)[0], sections)
        return self.write(history, prompt, memory, [completion], analysis=delta.analysis)


def apply_delta(memory: dict[str, Any], delta: Delta, *, max_items: int) -> dict[str, Any]:
    """Return the playbook after a delta. Items that the delta does not name do not change at all.

    An id that does not exist changes nothing; an item that repeats another one is not added.
    """
    items: dict[int, dict[str, Any]] = {item["id"]: dict(item) for item in memory["items"]}
    next_id: int = memory["next_id"]
    for tag in delta.tags:
        if tag.id in items and tag.tag != "neutral":
            items[tag.id][tag.tag] += 1
    for operation in delta.operations:
        text = operation.text.strip()
        if operation.type == "ADD" and distinct([text], [item["text"] for item in items.values()]):
            section = operation.section.strip() or "General"
            items[next_id] = {"id": next_id, "section": section, "text": text, "helpful": 0, "harmful": 0}
            next_id += 1
        elif operation.type == "REMOVE" and operation.id in items:
            del items[operation.id]
        elif operation.type == "UPDATE" and operation.id in items and text:
            items[operation.id]["text"] = text
    by_worth = sorted(items.values(), key=lambda item: (item["helpful"] - item["harmful"], item["id"]))
    for item in by_worth[: max(0, len(items) - max_items)]:
        del items[item["id"]]
    return {"items": list(items.values()), "next_id": next_id}
