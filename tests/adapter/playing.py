"""An episode of the world of tools, played by a `ToolActor`."""

from __future__ import annotations

import json
from typing import Any

from metagym import Completion, ToolActor, Trajectory
from metagym.testing import FakeChatModel
from tests.adapter.scales import ScalesMetaEnv


def called(text: str, *parcels: str) -> Completion:
    """Return a reply that weighs parcels."""
    functions: list[dict[str, Any]] = [{"name": "weigh", "arguments": json.dumps({"parcel": item})} for item in parcels]
    calls = [json.dumps({"id": f"c{number}", "function": item}) for number, item in enumerate(functions)]
    return Completion(text=text, tool_calls=tuple(calls))


def play_scales(*replies: str | Completion) -> tuple[Trajectory, ToolActor, FakeChatModel]:
    """Return the episode, its actor and its model; the first task of the seed has a = 18, and b is heavier."""
    model = FakeChatModel(replies or (called("First both.", "a", "b"), "a", "b"))
    actor = ToolActor(model)
    with ScalesMetaEnv(actor) as env:
        ((trajectory,),) = (item.trajectories for item in env.replay(["Weigh them."], ["x/0"]))
    return trajectory, actor, model
