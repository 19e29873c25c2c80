"""Pack episodes for the page: an index for lists and filters, and chunks that the page unpacks when it needs them."""

from __future__ import annotations

import base64
import functools
import gzip
import json
from collections.abc import Sequence
from typing import Any

from metagym.budget import Attempt
from metagym.report.episode_selection import phase_of
from metagym.report.run_reading import Run, step_key
from metagym.types import Observation, Step, Trajectory, digest

CHUNK_BYTES = 600_000
"""A chunk ends above this number of bytes of JSON: it is unpacked in a few hundredths of a second."""


def pack(value: Any) -> str:
    """Return a JSON value as base64 of its gzip: text without markup. Equal values give equal text."""
    return _pack_text(_json(value))


_json = functools.partial(json.dumps, ensure_ascii=True, separators=(",", ":"))


def _pack_text(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode(), compresslevel=9, mtime=0)).decode("ascii")


def pack_episodes(runs: Sequence[Run]) -> tuple[dict[str, Any], list[str]]:
    """Return the index, a JSON mapping, and the packed chunks.

    For each episode the index holds what the list shows and its place (chunk and position); for each run, what is
    needed to rebuild the messages that its actor sent.
    """
    prompts: dict[str, int] = {}
    rows: list[dict[str, Any]] = []
    chunks: list[list[str]] = []
    for number, run in enumerate(runs):
        for trajectory in run.episodes:
            if not chunks or sum(map(len, chunks[-1])) > CHUNK_BYTES:
                chunks.append([])
            prompt = prompts.setdefault(trajectory.episode.prompt, len(prompts))
            place = {"run": number, "prompt": prompt, "chunk": len(chunks) - 1, "at": len(chunks[-1])}
            rows.append({**place, **_row(trajectory, run)})
            chunks[-1].append(_json(_episode(trajectory, run)))
    index = {"runs": [_about(run) for run in runs], "prompts": list(prompts), "episodes": rows}
    return index, [_pack_text(f"[{','.join(texts)}]") for texts in chunks]


def _about(run: Run) -> dict[str, Any]:
    measurement = {} if run.manifest is None else run.manifest.measurement
    actor = measurement.get("actor")
    return {
        "name": run.name,
        "path": str(run.path),
        "kind": run.kind,
        "env": run.env_id,
        "actor": _chat_actor(actor) if isinstance(actor, dict) and _is_chat_actor(actor) else None,
    }


def _is_chat_actor(actor: dict[str, Any]) -> bool:
    # Before 0.2 the format was a text, and the messages were built in another way.
    return actor.get("kind") == "ChatActor" and isinstance(actor.get("reply_format"), dict)


def _chat_actor(actor: dict[str, Any]) -> dict[str, Any]:
    """Return the options that decide the messages of a `ChatActor`, from its fingerprint."""
    model = actor.get("model")
    sampling = (model.get("sampling") if isinstance(model, dict) else None) or {}
    limits = (sampling.get("max_completion_tokens"), sampling.get("max_tokens"))
    return {
        **{name: actor.get(name) for name in ("history_steps", "context_tokens", "list_actions", "reply_format")},
        "max_reply_tokens": next((limit for limit in limits if isinstance(limit, int)), 0),
    }


def _row(trajectory: Trajectory, run: Run) -> dict[str, Any]:
    task, phase = trajectory.task, phase_of(trajectory.episode.key, run.arm)
    index = phase.number
    if run.report is not None and phase.name.startswith("test"):
        place = (phase.name, phase.family, phase.seed, trajectory.episode.prompt)
        index = next((i.index for i in run.report.tests if (i.role.value, i.family, i.seed, i.prompt) == place), 0)
    key, prompt = trajectory.episode.key, trajectory.episode.prompt
    usage = trajectory.usage
    row = {
        "log": run.numbers[key, prompt],
        "note": run.notes.get((key, digest(prompt))),
        "tokens": usage.prompt_tokens + usage.completion_tokens if usage.num_calls else None,
        "task": task.id,
        "family": task.family,
        "phase": phase.name,
        "index": index,
        "replicate": phase.seed,
        "success": trajectory.success,
        "score": trajectory.score,
        "steps": len(trajectory.steps),
        "invalid": trajectory.num_invalid,
        "stop": trajectory.stop_reason.value,
        "detail": trajectory.stop_detail[:200],
        "scripted": trajectory.scripted,
    }
    return {name: value for name, value in row.items() if value is not None and value != ""}


def _episode(trajectory: Trajectory, run: Run) -> dict[str, Any]:
    """Return the parts of a trajectory that the page shows; equal lists of actions are kept once."""
    lists: dict[tuple[str, ...], int] = {}
    final = trajectory.final_observation
    return _compact(
        steps=[
            _step(step, lists) | _latency(run.calls.get(step_key(trajectory.episode, number)))
            for number, step in enumerate(trajectory.steps)
        ],
        final=None if final is None else _observation(final, lists),
        lists=list(lists),
        error=trajectory.error,
        detail=trajectory.stop_detail,
    )


def _step(step: Step, lists: dict[tuple[str, ...], int]) -> dict[str, Any]:
    action, completion = step.action, step.action.completion
    about = _compact(
        thought=action.thought,
        action=action.text,
        problem=action.problem,
        command=step.command,
        invalid=not step.is_valid,
        reward=step.reward,
        events=list(step.events),
        completion=completion and completion.model_dump(exclude_defaults=True, exclude={"token_ids", "logprobs"}),
    )
    sent = {} if action.prompt_read is None else {"sent": action.prompt_read}  # an empty prompt is shown, too
    return _observation(step.observation, lists) | about | sent


def _latency(call: Attempt | None) -> dict[str, Any]:
    """Return how long the model took for a step, from the log of calls: records hold no clock."""
    if call is None:
        return {}
    return {"took": {"s": round(call.working_s, 3), "waited": round(call.waiting_s, 3), "retries": call.retry}}


def _observation(observation: Observation, lists: dict[tuple[str, ...], int]) -> dict[str, Any]:
    actions = observation.available_actions
    return _compact(
        text=observation.text,
        goal=observation.goal,
        actions=None if actions is None else lists.setdefault(actions, len(lists)) + 1,
        feedback=observation.feedback,
        display=observation.display,
    )


def _compact(**record: Any) -> dict[str, Any]:
    """Leave out empty values and False, but no zero."""
    return {name: value for name, value in record.items() if value or type(value) in (int, float)}
