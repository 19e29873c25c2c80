"""Tools in a request: the schema to which a reply is held, and conversations with tools as text."""

from __future__ import annotations

import dataclasses
import enum
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from metagym import ToolActor
from metagym.models import OpenAIChatModel
from metagym.models.tool_calling import in_text, reply_schema
from metagym.testing import ServerReply, ServerRequest
from metagym.tools import tool_schema
from tests.adapter.scales import ScalesMetaEnv
from tests.conftest import Serve


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


@dataclasses.dataclass
class Line:
    name: str
    size: Size


def order(lines: list[Line]) -> str:
    """Order."""
    return f"{len(lines)}"


def references_in(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        yield from (value for name, value in schema.items() if name == "$ref")
        schema = list(schema.values())
    if isinstance(schema, list):
        for item in schema:
            yield from references_in(item)


def test_every_reference_in_the_schema_of_a_reply_points_to_something() -> None:
    schema = reply_schema([tool_schema(order), tool_schema(order)])
    references = list(references_in(schema))
    assert len(references) > 4
    for reference in references:
        found: Any = schema
        for name in reference.removeprefix("#/").split("/"):
            found = found[name]
        assert found["type"]


def test_a_call_that_was_cut_off_is_not_shown_as_an_answer() -> None:
    messages: Any = [{"role": "assistant", "content": text} for text in ('{"name": "weigh", "argum', "a is heavier")]
    texts = [message["content"] for message in in_text(messages, (), held=True)]
    assert texts == ['{"name": "weigh", "argum', '{"answer": "a is heavier"}']


def test_tools_whose_schema_a_server_refuses_are_offered_as_without_the_constraint(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    def respond(request: ServerRequest) -> str | ServerReply:
        schema = str(request.body.get("response_format"))
        if "weigh" in schema:
            return ServerReply("uniqueItems is not supported", status=400)
        return '{"answer": "It is shut."}' if "open_gate_7" in schema else "a"

    server = serve(respond)
    model = OpenAIChatModel("m", base_url=server.base_url)
    with caplog.at_level(logging.WARNING), ScalesMetaEnv(ToolActor(model, constrain="auto"), max_steps=8) as env:
        env.reset(seed=0)
        trajectories = env.step("Weigh them.")[0]
    assert all(trajectory.num_invalid == 0 for trajectory in trajectories)
    refused = [item for item in server.requests if "weigh" in str(item.body.get("response_format"))]
    assert 1 <= len(refused) <= len(trajectories)  # at most once for each episode that begins at the same time
    assert "The server refuses the schemas of the tools" in caplog.text
