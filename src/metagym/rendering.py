"""Trajectories as text for people and reflectors, without names of the task; and the signs of invisible characters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from metagym.tools import read_call
from metagym.types import Step, StopReason, Trajectory

CHARACTERS_PER_TOKEN = 4
"""The usual estimate for English; a limit in tokens is kept by counting characters."""
TITLE_TOKENS = 8
"""Tokens of the title of an episode in a batch."""

# Characters that cannot be seen, that a terminal or a browser obeys, or that change the direction of the text.
# The report's script has the same table (static/script/elements.js) for text that the browser draws.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\U000e0000-\U000e007f]"  # letters of tags: a text that only a model reads
)
_SIGNS = {chr(code): chr(0x2400 + code) for code in range(0x20)} | {"\x7f": "␡"}


def render_trajectory(
    trajectory: Trajectory,
    *,
    show_outcome: bool = True,
    show_thoughts: bool = False,
    show_actions: bool = False,
    max_tokens: int | None = None,
) -> str:
    """Return the trajectory as text: the goal, then for each step the observation and the action, then the end.

    With `max_tokens` (about four characters each) whole steps are cut from the middle: the first step and
    the last ones stay, and a note says how many steps were left out. If goal, first step, last step, end and outcome
    are still too long, each loses its own middle; a part below a fifth of the limit stays complete.
    A limit below 100 tokens may be exceeded.
    """
    final = trajectory.final_observation
    first = trajectory.steps[0].observation if trajectory.steps else final
    head = f"Goal: {first.goal}" if first and first.goal else ""
    has_tools = any(step.observation.tools is not None for step in trajectory.steps)
    blocks = [
        _render_step(number, step, show_thoughts, show_actions, has_tools)
        for number, step in enumerate(trajectory.steps, start=1)
    ]
    end = f"[End] Observation: {final.text}" if final else ""
    outcome = render_outcome(trajectory) if show_outcome else ""
    if max_tokens is not None:
        head, blocks, end, outcome = _fit(head, blocks, end, outcome, max_tokens * CHARACTERS_PER_TOKEN)
    return "\n".join(part for part in (head, *blocks, end, outcome) if part).strip()


def render_batch(trajectories: Sequence[Trajectory], *, max_tokens: int | None = None, **show: bool) -> str:
    """Return the trajectories one after another, numbered; each gets an equal share of `max_tokens`.

    `show` holds the options of `render_trajectory`: `show_outcome`, `show_thoughts`, `show_actions`.
    """
    share = None if max_tokens is None else max_tokens // max(1, len(trajectories)) - TITLE_TOKENS
    return "\n\n".join(
        f"=== Episode {number} of {len(trajectories)} ===\n{render_trajectory(item, max_tokens=share, **show)}"
        for number, item in enumerate(trajectories, start=1)
    )


def render_outcome(trajectory: Trajectory) -> str:
    """Return why the episode ended, whether it succeeded, and its total reward."""
    if trajectory.stop_reason is StopReason.ERROR:
        return "Outcome: the environment failed, not the agent; this episode does not count."
    why = {
        StopReason.TERMINATED: "the environment ended the episode",
        StopReason.TRUNCATED: "the environment's time limit was reached",
        StopReason.STEP_LIMIT: f"the limit of {len(trajectory.steps)} steps was reached",
        StopReason.CONTENT_FILTER: "the server's content filter refused the conversation",
        StopReason.CONTEXT_OVERFLOW: "the conversation grew too long for the agent",
    }[trajectory.stop_reason]
    detail = f" ({trajectory.stop_detail})" if trajectory.stop_detail else ""
    success = {True: "Success. ", False: "Failure. ", None: ""}[trajectory.success]
    return f"Outcome: {success}Total reward {trajectory.episode_return:g}; {why}{detail}."


def _render_step(number: int, step: Step, thoughts: bool, actions: bool, has_tools: bool) -> str:
    observation, action = step.observation, step.action
    lines = [f"[Step {number}] Observation: {observation.text}"]
    if actions and observation.available_actions is not None:
        lines.append("Available actions: " + ", ".join(observation.available_actions))
    if thoughts and action.thought:
        lines.append(f"Thought: {action.thought}")
    reply = action.text
    if reply is None and action.completion is not None:
        completion = action.completion
        reply = _cut_text("\n".join((completion.text, *completion.tool_calls)).strip(), 400)
    call = read_call(reply) if has_tools and reply else None
    lines.append(f"Action: {call or reply or '(none)'}")
    if not step.is_valid:
        executed = "executed all the same" if step.command is not None else "not executed"
        lines.append(f"Invalid ({executed}): {action.problem or 'it was not an available action.'}")
    if step.events:
        lines.append("Done by the environment itself: " + ", ".join(step.events))
    return "\n".join(lines)


def _fit(head: str, blocks: list[str], end: str, outcome: str, max_chars: int) -> tuple[str, list[str], str, str]:
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
    if sum(len(block) + 1 for block in blocks) <= room or len(blocks) <= 2:
        return blocks
    kept = 1
    room -= len(blocks[0]) + len(blocks[-1])
    while kept < len(blocks) - 1 and (room := room - len(blocks[-1 - kept]) - 1) >= 0:
        kept += 1
    num_cut = len(blocks) - 1 - kept
    return [blocks[0], f"[... {num_cut} steps left out ...]", *blocks[-kept:]] if num_cut else blocks


def first_failure(trajectories: Iterable[Trajectory]) -> str:
    """Return the error of the first failed episode without its full stop; an empty text if no episode failed."""
    return next(((item.error or "").rstrip(".") for item in trajectories if item.score is None), "")


def plural(count: int, noun: str) -> str:
    """Return the count with its noun.

    >>> plural(1, "seed"), plural(1200, "family")
    ('1 seed', '1,200 families')
    """
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun[:-1]}ies" if noun.endswith("y") else f"{count:,} {noun}s"


def duration_text(seconds: float) -> str:
    """Return a time in words, in hours, minutes or seconds.

    >>> duration_text(7_384), duration_text(100), duration_text(7)
    ('2.1 h', '1.7 min', '7.0 s')
    """
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 90 else f"{seconds:.1f} s"


def visible(text: str, *, one_line: bool = False) -> str:
    """Return `text` with a sign for each invisible or direction-changing character: `␀`, `␛`, `[U+202E]`.

    Line feeds and tabs stay. With `one_line`, for a terminal or a figure, every character that is not printable becomes
    its number, line feeds and tabs too: the fonts of figures have no signs such as `␀`.

    >>> visible("a\\x00b\\u202ec"), visible("a\\x00b\\nc", one_line=True)
    ('a␀b[U+202E]c', 'a[U+0000]b[U+000A]c')
    """
    if one_line:
        return "".join(char if char.isprintable() else f"[U+{ord(char):04X}]" for char in text)
    return _HIDDEN.sub(lambda found: _SIGNS.get(found[0], f"[U+{ord(found[0]):04X}]"), text)
