"""Trajectories as text, for people and for reflectors. No task id, family, split or seed appears in it."""

from __future__ import annotations

from collections.abc import Sequence

from metagym.types import Step, StopReason, Trajectory

CHARACTERS_PER_TOKEN = 4
"""The usual estimate for English; a budget in tokens is kept by counting characters."""
TITLE_TOKENS = 8
"""What the title of an episode in a batch takes."""


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
    the last ones stay, and the cut says how many it took. Where goal, first step, last step, end and outcome
    are too long even so, each loses its own middle; what takes less than a fifth of the budget stays whole.
    A budget below 100 tokens may be exceeded.
    """
    head = _goal(trajectory)
    blocks = [
        _render_step(number, step, show_thoughts, show_actions) for number, step in enumerate(trajectory.steps, start=1)
    ]
    end = _final(trajectory)
    outcome = render_outcome(trajectory) if show_outcome else ""
    if max_tokens is not None:
        head, blocks, end, outcome = _fit(head, blocks, end, outcome, max_tokens * CHARACTERS_PER_TOKEN)
    return "\n".join(part for part in (head, *blocks, end, outcome) if part).strip()


def render_batch(
    trajectories: Sequence[Trajectory],
    *,
    show_outcome: bool = True,
    show_thoughts: bool = False,
    show_actions: bool = False,
    max_tokens: int | None = None,
) -> str:
    """Return the trajectories one after another, numbered; `max_tokens` is shared out evenly among them."""
    share = None if max_tokens is None else max_tokens // max(1, len(trajectories)) - TITLE_TOKENS
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


def _render_step(number: int, step: Step, thoughts: bool, actions: bool) -> str:
    observation, action = step.observation, step.action
    lines = [f"[Step {number}] Observation: {observation.text}"]
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


def _final(trajectory: Trajectory) -> str:
    return "" if trajectory.final_observation is None else f"[End] Observation: {trajectory.final_observation.text}"


def _fit(head: str, blocks: list[str], end: str, outcome: str, max_chars: int) -> tuple[str, list[str], str, str]:
    """Cut what stands between the first and the last block; where that is not enough, the parts themselves."""
    if sum(len(part) + 1 for part in (head, *blocks, end, outcome)) <= max_chars:
        return head, blocks, end, outcome
    room = max_chars - 48  # for the note on the cut, and the line ends around it
    head, outcome = _cut_text(head, room // 5), _cut_text(outcome, room // 5)
    room -= len(head) + len(outcome)
    end = _cut_text(end, room // 3)
    blocks = [_cut_text(block, room // 3) for block in blocks]
    return head, _cut_middle(blocks, room - len(end)), end, outcome


def _cut_text(text: str, max_chars: int) -> str:
    max_chars = max(max_chars, 64)
    if len(text) <= max_chars:
        return text
    half = (max_chars - 45) // 2
    return f"{text[:half]} [... {len(text) - 2 * half} characters left out ...] {text[-half:]}"


def _cut_middle(blocks: list[str], room: int) -> list[str]:
    """Keep the first block, the last one, and as many before it as fit."""
    if sum(len(block) + 1 for block in blocks) <= room or len(blocks) <= 2:
        return blocks
    kept = 1
    room -= len(blocks[0]) + len(blocks[-1])
    while kept < len(blocks) - 1 and (room := room - len(blocks[-1 - kept]) - 1) >= 0:
        kept += 1
    num_cut = len(blocks) - 1 - kept
    return [blocks[0], f"[... {num_cut} steps left out ...]", *blocks[-kept:]] if num_cut else blocks


def plural(count: int, noun: str) -> str:
    """Return the count with its noun.

    >>> plural(1, "seed"), plural(1200, "family")
    ('1 seed', '1,200 families')
    """
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun[:-1]}ies" if noun.endswith("y") else f"{count:,} {noun}s"
