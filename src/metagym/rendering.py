"""Trajectories as text, for people and for reflectors. No task id, family, split or seed appears in it."""

from __future__ import annotations

from collections.abc import Sequence

from metagym.types import Step, StopReason, Trajectory

CHARACTERS_PER_TOKEN = 4
"""The usual estimate for English; a budget in tokens is kept by counting characters."""


def render_trajectory(
    trajectory: Trajectory,
    *,
    show_outcome: bool = True,
    show_thoughts: bool = False,
    show_actions: bool = False,
    max_tokens: int | None = None,
) -> str:
    """Return the trajectory as text: goal, per step the observation before the action and the action, the end.

    With `max_tokens` (about four characters each) whole steps are cut from the middle: the first step and
    the last ones stay, and the cut says how many it took. An observation that alone exceeds half the budget
    loses its own middle.
    """
    max_chars = None if max_tokens is None else max_tokens * CHARACTERS_PER_TOKEN
    head = _goal(trajectory)
    blocks = [
        _render_step(number, step, show_thoughts, show_actions, max_chars)
        for number, step in enumerate(trajectory.steps, start=1)
    ]
    tail = _final(trajectory, max_chars)
    if show_outcome:
        tail += render_outcome(trajectory)
    if max_chars is not None:
        blocks = _cut_middle(blocks, max_chars - len(head) - len(tail))
    return "\n".join(part for part in (head, *blocks, tail) if part).strip()


def render_batch(
    trajectories: Sequence[Trajectory],
    *,
    show_outcome: bool = True,
    show_thoughts: bool = False,
    show_actions: bool = False,
    max_tokens: int | None = None,
) -> str:
    """Return the trajectories one after another, numbered; `max_tokens` is shared out evenly among them."""
    share = None if max_tokens is None else max_tokens // max(1, len(trajectories))
    return "\n\n".join(
        f"=== Episode {number} of {len(trajectories)} ===\n"
        + render_trajectory(
            trajectory,
            show_outcome=show_outcome,
            show_thoughts=show_thoughts,
            show_actions=show_actions,
            max_tokens=share,
        )
        for number, trajectory in enumerate(trajectories, start=1)
    )


def render_outcome(trajectory: Trajectory) -> str:
    """Return why the episode ended, whether it succeeded, and its total reward."""
    if trajectory.stop_reason is StopReason.ERROR:
        return "Outcome: the environment failed, not the agent; this episode does not count."
    why = {
        StopReason.TERMINATED: "the environment ended the episode",
        StopReason.TRUNCATED: "the environment's time limit was reached",
        StopReason.STEP_LIMIT: f"the limit of {len(trajectory.steps)} steps was reached",
        StopReason.CONTEXT_OVERFLOW: "the conversation grew too long for the agent",
    }[trajectory.stop_reason]
    detail = f" ({trajectory.stop_detail})" if trajectory.stop_detail else ""
    success = {True: "Success. ", False: "Failure. ", None: ""}[trajectory.success]
    return f"Outcome: {success}Total reward {trajectory.episode_return:g}; {why}{detail}."


def _goal(trajectory: Trajectory) -> str:
    first = trajectory.steps[0].observation if trajectory.steps else trajectory.final_observation
    return f"Goal: {first.goal}" if first and first.goal else ""


def _render_step(number: int, step: Step, thoughts: bool, actions: bool, max_chars: int | None) -> str:
    observation, action = step.observation, step.action
    lines = [f"[Step {number}] Observation: {_cut_text(observation.text, max_chars)}"]
    if actions and observation.available_actions is not None:
        lines.append("Available actions: " + ", ".join(observation.available_actions))
    if thoughts and action.thought:
        lines.append(f"Thought: {action.thought}")
    said = action.text
    if said is None and action.completion is not None:
        said = _cut_text(action.completion.text, 400)
    lines.append(f"Action: {said or '(none)'}")
    if not step.is_valid:
        executed = "executed all the same" if step.command is not None else "not executed"
        lines.append(f"Invalid ({executed}): {action.problem or 'it was not an available action.'}")
    if step.events:
        lines.append("Done by the environment itself: " + ", ".join(step.events))
    return "\n".join(lines)


def _final(trajectory: Trajectory, max_chars: int | None) -> str:
    if trajectory.final_observation is None:
        return ""
    return f"[End] Observation: {_cut_text(trajectory.final_observation.text, max_chars)}\n"


def _cut_text(text: str, max_chars: int | None) -> str:
    if max_chars is None or len(text) <= max(40, max_chars // 2):
        return text
    half = max(40, max_chars // 2) // 2
    return f"{text[:half]} [... {len(text) - 2 * half} characters left out ...] {text[-half:]}"


def _cut_middle(blocks: list[str], max_chars: int) -> list[str]:
    """Keep the first block and as many of the last ones as fit."""
    if sum(len(block) + 1 for block in blocks) <= max_chars or len(blocks) <= 2:
        return blocks
    room = max_chars - len(blocks[0])
    kept = 0
    while kept < len(blocks) - 1 and (room := room - len(blocks[-1 - kept]) - 1) >= 0:
        kept += 1
    kept = max(kept, 1)
    num_cut = len(blocks) - 1 - kept
    return [blocks[0], f"[... {num_cut} steps left out ...]", *blocks[-kept:]] if num_cut else blocks
