"""Parts of a prompt: sections that describe tools, read by an actor, shown to a reflector."""

from __future__ import annotations

from typing import Any

import pytest
from tests.adapter.playing import play_scales
from tests.adapter.scales import Scales, ScalesMetaEnv

from metagym import ToolActor
from metagym.testing import FakeChatModel
from metagym.tools import changed_parts, offered_tools, read_parts, render_tools, write_part

TOOLS: tuple[Any, ...] = Scales().reset(seed=0)[1]["tools"]
PROMPT = """\
Weigh them.

## Tool: weigh
Weigh a parcel. Weigh **each** of them.
### Note
Once is enough.

## Memory
- b is often heavier.

## Tool: unknown
Stays.
"""


def description(tools: Any, name: str) -> str:
    return next(str(tool["function"]["description"]) for tool in tools if tool["function"]["name"] == name)


def test_a_section_replaces_the_description_of_its_tool_and_leaves_the_prompt() -> None:
    text, tools = read_parts(PROMPT, TOOLS)
    assert text == "Weigh them.\n\n## Memory\n- b is often heavier.\n\n## Tool: unknown\nStays."
    assert description(tools, "weigh") == "Weigh a parcel. Weigh **each** of them.\n### Note\nOnce is enough."
    assert description(tools, "drop") == "Drop a parcel."
    assert description(TOOLS, "weigh") == "Weigh a parcel."  # the offered ones are not changed
    assert [tool["function"]["parameters"] for tool in tools] == [tool["function"]["parameters"] for tool in TOOLS]


@pytest.mark.parametrize("prompt", ["Weigh them.", "  Weigh them.\n\n# Tool: weigh\nx", "## Tool: other\nx", ""])
def test_a_prompt_without_such_sections_stays_as_it_is(prompt: str) -> None:
    assert read_parts(prompt, TOOLS) == (prompt, TOOLS)


def test_an_empty_section_changes_nothing_and_the_last_of_two_counts() -> None:
    assert description(read_parts("## Tool: weigh\n\n## Tool: drop\nx", TOOLS)[1], "weigh") == "Weigh a parcel."
    assert description(read_parts("## Tool: weigh\nx\n## Tool: weigh\ny", TOOLS)[1], "weigh") == "y"


def test_a_written_part_is_read_back() -> None:
    prompt = write_part(write_part("Weigh them.", "weigh", "Weigh each."), "drop", "Never.")
    prompt = write_part(prompt, "weigh", "Weigh all.")
    text, tools = read_parts(prompt, TOOLS)
    assert (text, description(tools, "weigh"), description(tools, "drop")) == ("Weigh them.", "Weigh all.", "Never.")


def test_changed_parts_are_named() -> None:
    new = write_part("Weigh both.", "drop", "Never.")
    assert changed_parts("Weigh them.", new) == ("system prompt", "Tool: drop")
    assert changed_parts(new, new) == ()
    assert changed_parts(new, "Weigh both.") == ("Tool: drop",)


def test_the_actor_sends_the_descriptions_of_the_prompt() -> None:
    model = FakeChatModel(["a", "b"])
    with ScalesMetaEnv(ToolActor(model)) as env:
        env.replay([PROMPT], ["x/0"])
    system = model.calls[0][0][0]["content"]
    assert system.startswith("Weigh them.\n\n## Memory")
    assert "Weigh **each** of them." in system.partition("You may call these tools")[2]
    assert "## Tool: weigh" not in system


def test_a_reflector_is_shown_the_tools_as_the_prompt_describes_them() -> None:
    trajectory, *_ = play_scales()
    tools = offered_tools([trajectory, trajectory])
    assert [tool["function"]["name"] for tool in tools] == ["weigh", "drop"]
    shown = render_tools(PROMPT, tools)
    assert shown.startswith("## Tool: weigh\nWeigh a parcel. Weigh **each** of them.")
    assert '"parcel": {"type": "string"}' in shown
    assert "## Tool: drop\nDrop a parcel." in shown


@pytest.mark.parametrize("level", ["#", "##", "###"])
def test_a_description_with_headings_stays_whole(level: str) -> None:
    text, tools = read_parts(write_part("Be brave.", "weigh", f"Weigh.\n\n{level} When\nAt first."), TOOLS)
    assert text == "Be brave."
    assert description(tools, "weigh").startswith("Weigh.\n\n##")
    assert description(tools, "weigh").endswith("# When\nAt first.")


def test_a_section_with_the_line_ends_of_windows_is_read() -> None:
    text, tools = read_parts("Be brave.\r\n\r\n## Tool: weigh\r\nWeigh both.\r\n", TOOLS)
    assert (text, description(tools, "weigh")) == ("Be brave.", "Weigh both.")


@pytest.mark.parametrize("end", ["\r", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
def test_a_heading_begins_only_after_a_line_feed(end: str) -> None:
    written = f"Weigh.{end}## When{end}At first.{end}## Tool: drop{end}x"
    prompt = write_part("Be brave.", "weigh", written)
    text, tools = read_parts(prompt, TOOLS)
    assert (text, description(tools, "weigh"), description(tools, "drop")) == ("Be brave.", written, "Drop a parcel.")
    assert changed_parts("Be brave.", prompt) == ("Tool: weigh",)
