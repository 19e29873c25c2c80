"""The prompt as a document: the first prompt, and under headings the Markdown items of a method's memory.

An actor that reads its prompt with `retrieve_items(top_k, below=MEMORY_HEADING)` picks items under that heading for
each task. Any other actor reads all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from metagym.actors import MEMORY_HEADING as MEMORY_HEADING
from metagym.rendering import render_batch
from metagym.types import MetaStep


def document(first_prompt: str, sections: Mapping[str, Iterable[str]]) -> str:
    """Return the first prompt with each section's items under its heading; a section without items is left out.

    >>> print(document("Be brave.", {"## Lessons": ["Knock.", "Wait,\\nthen push."], "## None": []}))
    Be brave.
    <BLANKLINE>
    ## Lessons
    - Knock.
    - Wait,
      then push.
    """
    parts = [first_prompt]
    for heading, texts in sections.items():
        if items := [as_item(text) for text in texts]:
            parts.append("\n".join([heading, *items]))
    return "\n\n".join(parts)


def as_item(text: str) -> str:
    """Return `text` as one Markdown item: without blank lines, with all lines but the first indented."""
    return "- " + "\n  ".join(line.rstrip() for line in text.strip().splitlines() if line.strip())


def tagged(**parts: str) -> str:
    """Return the parts of a request, each between tags of its name."""
    return "\n\n".join(f"<{name}>\n{text}\n</{name}>" for name, text in parts.items())


def numbered(texts: Sequence[str], *, nothing: str = "(empty)") -> str:
    """Return the texts numbered from 1; `nothing` if there are none."""
    return "\n".join(f"{number}. {text}" for number, text in enumerate(texts, start=1)) or nothing


def request(meta_step: MetaStep, max_tokens: int, **parts: str) -> str:
    """Return the text that most methods show to their model: the current prompt, `parts`, and the last episodes."""
    episodes = render_batch(meta_step.trajectories, max_tokens=max_tokens)
    return tagged(current_prompt=meta_step.prompt, **parts, episodes=episodes)


def distinct(texts: Iterable[str], known: Iterable[str] = ()) -> list[str]:
    """Return the texts that are new: without repeats and without those known; case and white space do not count."""
    old = {_folded(text) for text in known}
    found: dict[str, str] = {}
    for text in texts:
        found.setdefault(_folded(text), text.strip())
    return [text for folded, text in found.items() if folded and folded not in old]


def _folded(text: str) -> str:
    return " ".join(text.lower().split())
