"""The episodes of a run as documents of ATIF v1.7, a format that other programs read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from metagym._version import __version__
from metagym.runs import RunFolder
from metagym.types import Step, Trajectory

ATIF_VERSION: Final = "ATIF-v1.7"


def write_atif(run: RunFolder, folder: str | Path) -> int:
    """Write every episode as one ATIF document, `00000.json` and so on; return the number of documents."""
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
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
    observation that followed. `extra` holds everything that ATIF has no field for (scores, validity, feedback).
    """
    prompt = trajectory.episode.prompt
    steps: list[dict[str, Any]] = [{"source": "system", "message": prompt}]
    seen = [step.observation for step in trajectory.steps]
    seen += [trajectory.final_observation] if trajectory.final_observation is not None else []
    if seen:
        goal = f"Goal: {seen[0].goal}\n" if seen[0].goal else ""
        steps.append({"source": "user", "message": goal + seen[0].text})
    for turn, step in enumerate(trajectory.steps):
        answer = seen[turn + 1] if turn + 1 < len(seen) else None
        steps.append(_turn(step, None if answer is None else answer.feedback or answer.text))
    usage = trajectory.usage
    return {
        "schema_version": ATIF_VERSION,
        "trajectory_id": trajectory_id,
        "agent": _known(name="metagym", version=__version__, model_name=model_name),
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


def _turn(step: Step, answer: str | None) -> dict[str, Any]:
    action, completion = step.action, step.action.completion
    extra = _known(command=step.command, is_valid=step.is_valid, reward=step.reward, problem=action.problem or None)
    turn = _known(
        source="agent",
        message=completion.text if completion is not None else action.text or "",
        observation=None if answer is None else {"results": [{"content": answer}]},
        extra=extra,
        llm_call_count=0 if completion is None else 1,
    )
    if completion is None:
        return turn
    usage = completion.usage
    metrics = _known(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_tokens=usage.cached_tokens,
        completion_token_ids=None if completion.token_ids is None else list(completion.token_ids),
        logprobs=None if completion.logprobs is None else list(completion.logprobs),
    )
    return {**turn, "metrics": metrics, **_known(reasoning_content=completion.reasoning or None)}


def _known(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
