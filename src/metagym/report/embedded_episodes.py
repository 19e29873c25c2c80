"""Pack episodes for the page: an index for lists and filters, and chunks that the page unpacks when it needs them."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator, Sequence
from typing import Any

from metagym.report.episode_selection import phase_of
from metagym.report.run_reading import Run
from metagym.types import Completion, Observation, Step, Trajectory

CHUNK_BYTES = 600_000
"""A chunk ends above this number of bytes of JSON: it is unpacked in a few hundredths of a second."""


def pack(value: Any) -> str:
    """Return a JSON value as base64 of its gzip: text without markup. Equal values give equal text."""
    return _pack_text(json.dumps(value, ensure_ascii=True, separators=(",", ":")))


def _pack_text(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode(), compresslevel=9, mtime=0)).decode("ascii")


def pack_episodes(runs: Sequence[Run]) -> tuple[dict[str, Any], list[str]]:
    """Return the index, a JSON mapping, and the packed chunks.

    For each episode the index holds what the list shows and its place (chunk and position); for each run, what is
    needed to rebuild the messages that its actor sent.
    """
    prompts: dict[str, int] = {}
    rows: list[dict[str, Any]] = []
    chunks: list[str] = []
    texts: list[str] = []
    for number, run in enumerate(runs):
        for trajectory in run.episodes:
            if texts and sum(map(len, texts)) > CHUNK_BYTES:
                chunks.append(_pack_text(f"[{','.join(texts)}]"))
                texts = []
            prompt = prompts.setdefault(trajectory.episode.prompt, len(prompts))
            place = {"run": number, "prompt": prompt, "chunk": len(chunks), "at": len(texts)}
            rows.append({**place, **_row(trajectory, run)})
            texts.append(json.dumps(_episode(trajectory), ensure_ascii=True, separators=(",", ":")))
    if texts:
        chunks.append(_pack_text(f"[{','.join(texts)}]"))
    return {"runs": [_about(run) for run in runs], "prompts": list(prompts), "episodes": rows}, chunks


def _about(run: Run) -> dict[str, Any]:
    measurement = {} if run.manifest is None else run.manifest.measurement
    actor = measurement.get("actor")
    return {
        "name": run.name,
        "path": run.path.name,
        "kind": run.kind,
        "env": run.env_id,
        "control": run.is_control,
        "num": run.num_episodes,
        "scripted": run.scripted,
        "actor": _chat_actor(actor) if isinstance(actor, dict) and actor.get("kind") == "ChatActor" else None,
    }


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
    phase = phase_of(trajectory.episode.key, run.arm)
    index = phase.number
    if run.report is not None and phase.name.startswith("test"):
        index = _tested_prompt(run, phase.name, phase.family, phase.seed, trajectory.episode.prompt)
    row = {
        "task": trajectory.task.id,
        "family": trajectory.task.family,
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


def _tested_prompt(run: Run, role: str, family: str, seed: int | None, prompt: str) -> int:
    assert run.report is not None
    for item in run.report.tests:
        if (item.role.value, item.family, item.seed, item.prompt) == (role, family, seed, prompt):
            return item.index
    return 0


def _episode(trajectory: Trajectory) -> dict[str, Any]:
    """Return the parts of a trajectory that the page shows; equal lists of actions are kept once."""
    lists: dict[tuple[str, ...], int] = {}
    steps = [_step(step, lists) for step in trajectory.steps]
    final = None if trajectory.final_observation is None else _observation(trajectory.final_observation, lists)
    return _compact(
        {
            "steps": steps,
            "final": final,
            "lists": list(lists),
            "error": trajectory.error,
            "detail": trajectory.stop_detail,
            "repetition": trajectory.episode.repetition,
            "seed": trajectory.episode.seed,
            "taskSeed": trajectory.task.seed,
            "split": trajectory.task.split,
            "revision": trajectory.actor_revision,
            "usage": trajectory.usage.model_dump(exclude_defaults=True),
        }
    )


def _step(step: Step, lists: dict[tuple[str, ...], int]) -> dict[str, Any]:
    action = step.action
    return (
        _observation(step.observation, lists)
        | _compact(
            {
                "thought": action.thought,
                "action": action.text,
                "problem": action.problem,
                "command": step.command,
                "invalid": not step.is_valid,
                "reward": step.reward,
                "events": list(step.events),
                "completion": None if action.completion is None else _completion(action.completion),
            }
        )
        | ({} if action.prompt_read is None else {"sent": action.prompt_read})
    )


def _observation(observation: Observation, lists: dict[tuple[str, ...], int]) -> dict[str, Any]:
    actions = observation.available_actions
    return _compact(
        {
            "text": observation.text,
            "goal": observation.goal,
            "actions": None if actions is None else lists.setdefault(actions, len(lists)) + 1,
            "feedback": observation.feedback,
            "display": observation.display,
        }
    )


def _completion(completion: Completion) -> dict[str, Any]:
    return completion.model_dump(exclude_defaults=True, exclude={"token_ids", "logprobs"})


def _compact(record: dict[str, Any]) -> dict[str, Any]:
    return dict(_known(record))


def _known(record: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in record.items():
        if value is not None and value != "" and value != [] and value is not False and value != {}:
            yield name, value
