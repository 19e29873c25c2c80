"""Retrieval: send an actor only the items of a prompt that fit goal and observation."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from metagym.errors import ConfigError
from metagym.types import Observation, Step

ReadPrompt = Callable[[str, str, Sequence[Step], Observation], str]
"""(prompt, goal, steps, observation) -> the part of the prompt to send."""

_ITEM = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+")
MEMORY_HEADING = "## Memory"
"""The heading of the items that reflectors write to be picked per task."""


def retrieve_items(top_k: int, *, below: str | None = None) -> ReadPrompt:
    """Return a `read_prompt` that keeps the `top_k` list items of the prompt that fit goal and observation best.

    An item is a Markdown list item (`- ...`, `1. ...`) with its indented lines; all other text stays. With
    `below`, a heading such as `MEMORY_HEADING`, only the items between that line and the next heading are candidates.
    Items are ranked by the words that they share with goal and observation. A word counts less if more items
    hold it. Ties go to the earlier item.
    """
    if isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 0:
        raise ConfigError(f"top_k must be 0 or more, got {top_k}.")

    def read_prompt(prompt: str, goal: str, steps: Sequence[Step], observation: Observation) -> str:
        blocks = _blocks(prompt, below)
        items = {index: _words(text) for index, (is_item, text) in enumerate(blocks) if is_item}
        query = _words(f"{goal}\n{observation.text}")
        counts = Counter(word for words in items.values() for word in words)

        def relevance(index: int) -> float:
            shared = sorted(items[index] & query)  # a fixed order, as float sums depend on it
            return sum(1 / counts[word] for word in shared)

        best = set(sorted(items, key=lambda index: (-relevance(index), index))[:top_k])
        return "\n".join(text for index, (is_item, text) in enumerate(blocks) if not is_item or index in best)

    read_prompt.fingerprint = {"kind": "retrieve_items", "top_k": top_k, "below": below}  # type: ignore[attr-defined]
    return read_prompt


def _blocks(prompt: str, below: str | None) -> list[tuple[bool, str]]:
    # Items and other lines, each with whether it is an item. A line that is indented under an item belongs to it.
    blocks: list[tuple[bool, list[str]]] = []
    is_open = below is None
    for line in prompt.splitlines():
        if below is not None and line.startswith("#"):
            is_open = line.strip() == below.strip()
        after_item = bool(blocks) and blocks[-1][0]
        if is_open and _ITEM.match(line) and not (after_item and line.startswith("  ")):
            blocks.append((True, [line]))
        elif after_item and line.startswith((" ", "\t")) and line.strip():
            blocks[-1][1].append(line)
        else:
            blocks.append((False, [line]))
    return [(is_item, "\n".join(lines)) for is_item, lines in blocks]


def _words(text: str) -> set[str]:
    return set(re.findall(r"[^\W_]{3,}", text.lower()))
