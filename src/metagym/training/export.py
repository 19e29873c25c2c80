"""Export turns of the reflector or the actor, and data for fine-tuning made of them, as JSON lines. No torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metagym.actor import ChatActor, ToolActor, read_calls
from metagym.actor.chat import prompt_sent
from metagym.errors import ConfigError
from metagym.files import write_whole
from metagym.runs.store import writing_to
from metagym.training.experience import read_lines
from metagym.training.metrics import EQUAL
from metagym.types import Step, Trajectory

FIELDS = ("role", "messages", "completion", "reward", "group", "token_ids", "logprobs")
"""The fields of a turn. `reward` is None if an episode failed; `token_ids` and `logprobs` are None if unknown.
Turns of the same `group` answer the same conversation (reflector) or play the same task (actor)."""


def reflector_turns(run: str | Path) -> Iterator[dict[str, Any]]:
    """Yield the reflections of a training run as turns; the G candidates of a group's turn have the same `group`."""
    file = Path(run) / "samples.jsonl"
    if not file.is_file():
        raise ConfigError(f"Expected a training run (a folder with samples.jsonl) at {run}, found no such file.")
    for line in read_lines(file):
        later = f"/{line['turn']}" if line.get("turn") else ""
        turn = {**line, "role": "reflector", "group": f"{line['step']}/{line['experience']}{later}"}
        yield {name: turn[name] for name in FIELDS}


def actor_turns(
    trajectories: Iterable[Trajectory], actor: ChatActor | ToolActor, *, prompt_in_place: str | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the actor's turns: the messages that it got, its reply, and the score of the episode as the reward.

    Messages are not stored; `actor`, which must be the one that played, rebuilds them from the record. Steps of an
    actor without a model have no completion, and give no turn. A turn of a `ToolActor` also has `tools`, the schemas
    that were offered, and `tool_calls`, the calls of the reply. `prompt_in_place` replaces the prompt that was
    played in the messages: weights that are tuned on them learn the content of that prompt.
    """
    for trajectory in trajectories:
        for index, step in enumerate(trajectory.steps):
            prompt = prompt_sent(trajectory.episode.prompt, step)
            prompt = prompt if prompt_in_place is None else prompt_in_place
            if (completion := step.action.completion) is not None:
                turn = {
                    "role": "actor",
                    "messages": actor.messages(prompt, trajectory.steps[:index], step.observation),
                    "completion": completion.text,
                    "reward": trajectory.score,
                    "group": trajectory.task.id,
                    "token_ids": completion.token_ids,
                    "logprobs": completion.logprobs,
                }
                if isinstance(actor, ToolActor):
                    turn |= _calls(actor, prompt, trajectory.steps[:index], step)
                yield turn


def _calls(actor: ToolActor, prompt: str, before: Sequence[Step], step: Step) -> dict[str, Any]:
    assert step.action.completion is not None
    text, calls = read_calls(step.action.completion)
    tools = list(actor.tools(prompt, before, step.observation))
    return {"completion": text, "tool_calls": [call.message for call in calls], "tools": tools}


def best_turns(turns: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the best turn of each group as an example for fine-tuning: `{"messages": [..., assistant's reply]}`.

    A group in which all known rewards are equal gives no turn. Of several best turns the first is used.
    """
    return [{"messages": [*best["messages"], _reply(best)], **_tools(best)} for _, best in _extremes(turns)]


def preferences(turns: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the best and the worst turn of each group: `{"prompt": messages, "chosen": [reply], "rejected": [reply]}`.

    A group in which all known rewards are equal gives no pair, nor does one whose turns answer different conversations.
    """
    return [
        {"prompt": list(best["messages"]), "chosen": [_reply(best)], "rejected": [_reply(worst)], **_tools(best)}
        for worst, best in _extremes(turns)
        if best["messages"] == worst["messages"]
    ]


def good_turns(turns: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return each turn with a positive reward as an example for fine-tuning, as `best_turns` does."""
    return [
        {"messages": [*turn["messages"], _reply(turn)], **_tools(turn)}
        for turn in turns
        if turn["reward"] is not None and turn["reward"] > EQUAL
    ]


def _extremes(turns: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Yield the first worst and the first best turn of each group in which rewards differ."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for turn in turns:
        if turn["reward"] is not None:
            groups.setdefault(turn["group"], []).append(turn)
    for group in groups.values():
        rewards = [turn["reward"] for turn in group]
        if np.std(rewards) > EQUAL:
            worst = next(turn for turn in group if turn["reward"] <= min(rewards) + EQUAL)
            yield worst, next(turn for turn in group if turn["reward"] >= max(rewards) - EQUAL)


def _reply(turn: Mapping[str, Any]) -> dict[str, Any]:
    calls = {"tool_calls": turn["tool_calls"]} if turn.get("tool_calls") else {}
    return {"role": "assistant", "content": turn["completion"], **calls}


def _tools(turn: Mapping[str, Any]) -> dict[str, Any]:
    return {"tools": turn["tools"]} if "tools" in turn else {}


def write_turns(turns: Iterable[Mapping[str, Any]], path: str | Path) -> int:
    """Write one turn (or pair) per line, if all can be read; return their number."""
    lines = [json.dumps(turn) + "\n" for turn in turns]
    with writing_to(path):
        write_whole(Path(path), "".join(lines))
    return len(lines)
