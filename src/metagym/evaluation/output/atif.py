"""The episodes of a run as documents of ATIF v1.7, a format that other programs read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

from metagym._version import __version__
from metagym.actor.tool_turns import ReplyCall, ToolTurn, turns_of
from metagym.errors import ConfigError
from metagym.rendering import plural
from metagym.runs import RunFolder
from metagym.runs.store import writing_to
from metagym.types import Step, Trajectory

ATIF_VERSION: Final = "ATIF-v1.7"
_DOCUMENT: Final = re.compile(r"\d{5,}\.json")


def write_atif(run: RunFolder, folder: str | Path) -> int:
    """Write every episode as one ATIF document, `00000.json` and so on; return the number of documents.

    Raises:
        ConfigError: the folder holds documents of an earlier export; nothing was written.
    """
    place = Path(folder)
    with writing_to(place):
        place.mkdir(parents=True, exist_ok=True)
        left = sum(_DOCUMENT.fullmatch(file.name) is not None for file in place.iterdir())
    if left:
        raise ConfigError(
            f"Expected a folder without episodes at {place}, got {plural(left, 'document')} of an earlier export, "
            "which would mix with these. Remove them, or name another folder."
        )
    model = run.manifest.measurement.get("actor")
    while isinstance(model, dict):  # the fingerprint of the actor holds that of its model, which holds its name
        model = model.get("model")
    name = model if isinstance(model, str) else None
    num_documents = 0
    for number, trajectory in enumerate(run.episodes()):  # in the order in which they finished
        document = to_atif(trajectory, trajectory_id=f"{run.path.name}-{number:05d}", model_name=name)
        text = json.dumps(document, ensure_ascii=False, indent=1)
        (place / f"{number:05d}.json").write_text(text + "\n", encoding="utf-8")
        num_documents = number + 1
    return num_documents


def to_atif(trajectory: Trajectory, *, trajectory_id: str, model_name: str | None = None) -> dict[str, Any]:
    """Return an episode as an ATIF v1.7 document.

    The prompt is the system step and the first observation the user step. Each turn is an agent step with the
    observation that followed; if the agent called tools, its step has all calls of the reply, each with its result.
    `extra` holds everything that ATIF has no field for (scores, validity, feedback).
    """
    prompt = trajectory.episode.prompt
    steps: list[dict[str, Any]] = [{"source": "system", "message": prompt}]
    seen = [step.observation for step in trajectory.steps]
    seen += [trajectory.final_observation] if trajectory.final_observation is not None else []
    if seen:
        goal = f"Goal: {seen[0].goal}\n" if seen[0].goal else ""
        steps.append({"source": "user", "message": goal + seen[0].text})
    number = 1
    for turn in turns_of(trajectory.steps):
        answers = seen[number : number + len(turn.steps)]
        steps.append(_agent_step(turn, [answer.feedback or answer.text for answer in answers]))
        number += len(turn.steps)
    tools = [tool for step in trajectory.steps for tool in step.observation.tools or ()]
    usage = trajectory.usage
    return {
        "schema_version": ATIF_VERSION,
        "trajectory_id": trajectory_id,
        "agent": _known(
            name="metagym", version=__version__, model_name=model_name, tool_definitions=_distinct(tools) or None
        ),
        "steps": [{"step_id": number, **step} for number, step in enumerate(steps, start=1)],
        "final_metrics": {
            "total_prompt_tokens": usage.prompt_tokens,
            "total_completion_tokens": usage.completion_tokens,
            "total_cached_tokens": usage.cached_tokens,
            "total_steps": len(steps),
        },
        "extra": {
            "task": trajectory.task.model_dump(mode="json"),
            **trajectory.episode.model_dump(mode="json", include={"arm", "meta_step", "repetition"}),
            **trajectory.model_dump(mode="json", include={"stop_reason", "success", "score", "scripted"}),
        },
    }


def _agent_step(turn: ToolTurn, answers: list[str]) -> dict[str, Any]:
    first, completion = turn.steps[0], turn.completion
    extra = [_extra(step) for step in turn.steps]
    results: list[dict[str, Any]] = [{"content": text} for text in answers]
    if turn.calls:
        pairs = zip(turn.calls, answers, strict=False)
        results = [{"source_call_id": call.id, "content": text} for call, text in pairs]
    text = first.action.text or "" if completion is None else completion.text
    step = _known(
        source="agent",
        message=turn.thought if turn.calls else text,
        tool_calls=[_call(call) for call in turn.calls] or None,
        observation={"results": results} if results else None,
        extra=extra[0] if len(extra) == 1 else {"calls": extra},
        llm_call_count=0 if completion is None else 1,
    )
    if completion is None:
        return step
    usage = completion.usage
    metrics = _known(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_tokens=usage.cached_tokens,
        completion_token_ids=None if completion.token_ids is None else list(completion.token_ids),
        logprobs=None if completion.logprobs is None else list(completion.logprobs),
    )
    return {**step, "metrics": metrics, **_known(reasoning_content=completion.reasoning or None)}


def _extra(step: Step) -> dict[str, Any]:
    problem = step.action.problem or None
    return _known(command=step.command, is_valid=step.is_valid, reward=step.reward, problem=problem)


def _call(call: ReplyCall) -> dict[str, Any]:
    return {"tool_call_id": call.id, "function_name": call.name, "arguments": call.arguments or {}}


def _distinct(tools: list[Any]) -> list[Any]:
    return [tool for index, tool in enumerate(tools) if tool not in tools[:index]]


def _known(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
