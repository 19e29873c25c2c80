"""Tools that an inner environment offers: their schemas, calls of them, and worlds that are made of typed methods.

calls     ToolCall: one call as canonical JSON, read and written; whether it fits its tool
schemas   tool_schema: from a typed function to the schema of the OpenAI protocol; values checked against a schema
parts     read_parts: a prompt's sections `## Tool: NAME` in the place of descriptions
sampling  random_call: a call with random arguments, for checks and for the random actor

An environment offers tools by `info["tools"]`. `metagym.ToolEnv` makes one of typed methods. This package knows
no actors and no models.
"""

from metagym.tools.calls import ToolCall, call_problem, read_call
from metagym.tools.parts import changed_parts, offered_tools, read_parts, render_tools, section_of, write_part
from metagym.tools.sampling import random_call
from metagym.tools.schemas import tool_schema, tools_problem, value_problem

__all__ = [
    "ToolCall",
    "call_problem",
    "changed_parts",
    "offered_tools",
    "random_call",
    "read_call",
    "read_parts",
    "render_tools",
    "section_of",
    "tool_schema",
    "tools_problem",
    "value_problem",
    "write_part",
]
