"""Parts of a prompt: its sections `## Tool: NAME` replace the descriptions of tools.

The action of a meta-environment stays one text. An actor that knows tools reads these sections; any other reads the
whole text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from metagym.tools.calls import Tool
from metagym.types import Trajectory

_HEADING = re.compile(r"^## Tool:[ \t]*(?P<name>[\w-]+)\s*$")
_NEXT = re.compile(r"^##? ", re.MULTILINE)


def read_parts(prompt: str, tools: Sequence[Tool]) -> tuple[str, tuple[Tool, ...]]:
    """Return the prompt without the sections of these tools, and the tools with the descriptions of their sections.

    A section ends at the next heading of its level or above. A section of another tool stays in the prompt, and an
    empty one changes nothing. Of two sections for one tool the last one counts.

    >>> tools = [{"type": "function", "function": {"name": "pay", "description": "Pay."}}]
    >>> text, (pay,) = read_parts("Be brave.\\n\\n## Tool: pay\\nPay, but never twice.", tools)
    >>> text, pay["function"]["description"]
    ('Be brave.', 'Pay, but never twice.')
    """
    names, found = {tool["function"]["name"] for tool in tools}, dict[str, list[str]]()
    text: list[str] = []
    part = text
    for line in prompt.split("\n"):  # as _NEXT does: splitlines would also split at \r, \f and U+2028
        heading = _HEADING.match(line)
        if heading and heading["name"] in names:
            part = found[heading["name"]] = []
            continue
        if _NEXT.match(line):
            part = text
        part.append(line)
    descriptions = {name: "\n".join(lines).strip() for name, lines in found.items()}
    described = tuple(_described(tool, descriptions.get(tool["function"]["name"], "")) for tool in tools)
    return ("\n".join(text).strip() if found else prompt), described


def write_part(prompt: str, name: str, description: str) -> str:
    """Return the prompt with this description of a tool, in the place of its section, or at the end.

    >>> print(write_part("Be brave.", "pay", "Pay once."))
    Be brave.
    <BLANKLINE>
    ## Tool: pay
    Pay once.
    """
    rest, _ = read_parts(prompt, [{"function": {"name": name}}])
    return f"{rest.rstrip()}\n\n{section_of(name, description)}".lstrip()


def section_of(name: str, description: str) -> str:
    r"""Return the section of a tool. Headings in the description, which would end it, are moved two levels down.

    >>> print(section_of("pay", "Pay.\n\n## When\nAt the end."))
    ## Tool: pay
    Pay.
    <BLANKLINE>
    #### When
    At the end.
    """
    return f"## Tool: {name}\n{_NEXT.sub(lambda heading: f'##{heading[0]}', description.strip())}"


def changed_parts(old: str, new: str) -> tuple[str, ...]:
    r"""Return the names of the parts in which two prompts differ: `Tool: NAME`, or `system prompt` for the rest.

    >>> changed_parts("Be brave.", "Be brave.\n\n## Tool: pay\nPay once.")
    ('Tool: pay',)
    """
    before, after = _all_parts(old), _all_parts(new)
    return tuple(name for name in {**before, **after} if before.get(name, "") != after.get(name, ""))


def _all_parts(prompt: str) -> dict[str, str]:
    names = [heading["name"] for line in prompt.split("\n") if (heading := _HEADING.match(line))]
    text, tools = read_parts(prompt, [{"function": {"name": name}} for name in dict.fromkeys(names)])
    described = {f"Tool: {tool['function']['name']}": tool["function"].get("description", "") for tool in tools}
    return {"system prompt": text.strip(), **described}


def offered_tools(trajectories: Sequence[Trajectory]) -> tuple[Tool, ...]:
    """Return all tools that were offered in these episodes, each once, in the order in which they came."""
    found: dict[str, Tool] = {}
    for trajectory in trajectories:
        for step in trajectory.steps:
            for tool in step.observation.tools or ():
                found.setdefault(tool["function"]["name"], tool)
    return tuple(found.values())


def render_tools(prompt: str, tools: Sequence[Tool]) -> str:
    """Return the tools as sections for a reflector, as the prompt describes them, with the schemas of arguments."""
    texts = []
    for tool in read_parts(prompt, tools)[1]:
        function: Any = tool["function"]
        arguments = json.dumps(function.get("parameters", {}).get("properties", {}), ensure_ascii=False)
        texts.append(f"{section_of(function['name'], function.get('description', ''))}\n(Arguments: {arguments})")
    return "\n\n".join(texts)


def _described(tool: Tool, description: str) -> Tool:
    if not description:
        return tool
    return {**tool, "function": {**tool["function"], "description": description}}
