"""The texts of a method: the prompt as a document, the request to its model, and the model's reply.

A document is the first prompt, and under headings the Markdown items of a method's memory. An actor that reads its
prompt with `retrieve_items(top_k, below=MEMORY_HEADING)` picks items under that heading for each task. Any other actor
reads all of them. A reply is read as marked sections or as JSON; one that did not end by itself is never read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from pydantic import BaseModel, BeforeValidator, ValidationError

from metagym.actor import MEMORY_HEADING as MEMORY_HEADING
from metagym.bad_replies import early_end
from metagym.rendering import render_batch
from metagym.tools import offered_tools, render_tools
from metagym.types import Completion, MetaStep

# At the start of a line, Markdown emphasis and headings allowed; a quotation (>) is not a marker.
# `*+` gives nothing back, so that a line of a thousand stars is read once.
_MARKER = r"^(?P<head>[ \t#*_]*+)(?P<name>analysis|{name})(?P<close>[*_]*+[ \t]*+:[*_]*+)[ \t]*+"
_FENCED = re.compile(r"\A```[^\n]*\n(?P<inside>.*)\n[ \t]*```\Z", re.DOTALL)
_FENCE_END = re.compile(r"\n[ \t]*+```")

R = TypeVar("R", bound=BaseModel)
Verb = BeforeValidator(lambda word: word.upper() if isinstance(word, str) else word)
"""Reads the name of an operation in any case."""


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
    """Return the texts numbered from 1; `nothing` without texts."""
    return "\n".join(f"{number}. {text}" for number, text in enumerate(texts, start=1)) or nothing


def request(meta_step: MetaStep, max_tokens: int, **parts: str) -> str:
    """Return the text that most methods show to their model: the current prompt, `parts`, and the last episodes."""
    episodes = render_batch(meta_step.trajectories, max_tokens=max_tokens)
    return tagged(current_prompt=meta_step.prompt, **parts, episodes=episodes)


TOOL_INSTRUCTIONS = """\
The agent acts by calling tools, which you see as it sees them. The system prompt may hold sections "## Tool: NAME" at \
its end: each replaces the description of that tool, and only that. Put what holds for one tool into its section, \
written as a complete description; leave the sections out for tools whose description is right."""
"""Instructions for a reflector that may improve descriptions of tools, besides its own."""


def shown_tools(meta_step: MetaStep) -> dict[str, str]:
    """Return the tools of the episodes as a part of a request; nothing if no tools were offered."""
    tools = offered_tools(meta_step.trajectories)
    return {"tools": render_tools(meta_step.prompt, tools)} if tools else {}


def distinct(texts: Iterable[str], known: Iterable[str] = ()) -> list[str]:
    """Return the texts that are new: without repeats and without those known; case and white space do not count."""
    old = {_folded(text) for text in known}
    found: dict[str, str] = {}
    for text in texts:
        found.setdefault(_folded(text), text.strip())
    return [text for folded, text in found.items() if folded and folded not in old]


def _folded(text: str) -> str:
    return " ".join(text.lower().split())


def read_marked_reply(completion: Completion, name: str) -> tuple[str, str | None, str]:
    """Read `ANALYSIS:` and a section named `name`; return the analysis, the section or None, and the problem.

    A marker counts at the start of a line outside code fences. If the section's marker occurs more than once, the
    last one counts: the analysis quotes the earlier ones.

    >>> read_marked_reply(Completion(text="ANALYSIS: too late.\\nLESSON: Knock first."), "lesson")
    ('too late.', 'Knock first.', '')
    """
    text = _unfenced(completion.text.strip())
    pattern = _MARKER.format(name=name.replace(" ", r"[ \t]+"))
    markers, num_fences, counted = list[re.Match[str]](), 0, 0
    for marker in re.finditer(pattern, text, re.IGNORECASE | re.MULTILINE):
        num_fences += text.count("```", counted, marker.start())
        counted = marker.start()
        if num_fences % 2 == 0:
            markers.append(marker)
    sections = [marker for marker in markers if marker["name"].lower() != "analysis"]
    analyses = [marker for marker in markers if marker["name"].lower() == "analysis"]
    start = analyses[0].end() if analyses else 0
    analysis = text[start : sections[-1].start() if sections else None].strip()
    if analyses:
        analysis = _unmarked(analysis, analyses[0])
    if not completion.is_whole:
        return analysis, None, early_end(completion)
    if not sections:
        return analysis, None, f"The reply holds no line '{name.upper()}:'"
    section = _unfenced(_unmarked(text[sections[-1].end() :].strip(), sections[-1]))
    return (analysis, section, "") if section else (analysis, None, f"The {name} is empty")


def read_json_reply(completion: Completion, kind: type[R]) -> tuple[R | None, str]:
    """Read the JSON mapping in a reply, with or without a fence or words around it; return it, or None and the problem.

    >>> class Verdict(BaseModel):
    ...     success: bool
    >>> read_json_reply(Completion(text='I think: {"success": true}'), Verdict)
    (Verdict(success=True), '')
    """
    if not completion.is_whole:
        return None, early_end(completion)
    text = completion.text
    for candidate in (text, *reversed(_fenced_parts(text)), text[text.find("{") : text.rfind("}") + 1]):
        try:
            value = json.loads(candidate, strict=False)  # models put line ends into strings
            return kind.model_validate_json(json.dumps(value)), ""
        except ValidationError as error:
            first = error.errors()[0]
            if first["type"] != "json_invalid":  # half of a character, which no server takes
                place = ".".join(map(str, first["loc"])) or "the mapping"
                return None, f"The reply's JSON does not have the expected fields ({place}: {first['msg']})"
        except (ValueError, RecursionError):  # no JSON, or a thousand brackets
            continue
    return None, "The reply holds no JSON mapping"


def parts_between(text: str, start: str, end: str) -> list[str]:
    """Return the texts between the marks `start` and `end`, without the white space around them.

    >>> parts_between("<p> One. </p> and <p>no end", "<p>", "</p>")
    ['One.']
    """
    parts = (part.partition(end) for part in text.split(start)[1:])
    return [inside.strip() for inside, mark, _ in parts if mark]


def _fenced_parts(text: str) -> list[str]:
    parts, at = [], 0
    while (fence := text.find("```", at)) >= 0 and (line_end := text.find("\n", fence)) >= 0:
        end = _FENCE_END.search(text, line_end + 1)
        if end is None:
            break
        parts.append(text[line_end + 1 : end.start()])
        at = end.end()
    return parts


def _unmarked(text: str, marker: re.Match[str]) -> str:
    """Return `text` without the end of the emphasis that its marker opened: **ANALYSIS: text**."""
    head = marker["head"]
    mark = head[len(head.rstrip("*_")) :]
    is_open = mark and marker["close"].strip() == ":" and text.count(mark) == 1
    return text.removesuffix(mark).strip() if is_open else text


def _unfenced(text: str) -> str:
    """Return the content of the code fence if one fence holds all of `text`; else `text`."""
    fenced = _FENCED.match(text)
    return fenced["inside"].strip() if fenced and "```" not in fenced["inside"] else text
