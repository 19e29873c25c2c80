"""Reading a reply in the form `Thought: ... Action: ...`."""

from __future__ import annotations

import re

from metagym.types import Completion

_MARKER = re.compile(r"^[ \t>#*_`]*(thought|action)[*_`]*[ \t]*:[*_`]*[ \t]*", re.IGNORECASE | re.MULTILINE)


def read_reply(completion: Completion) -> tuple[str, str | None, str]:
    """Read `Thought:` and `Action:` from a reply; return the thought, the action or None, and the problem.

    Strict: one action, on one line, in a reply that was not cut off. Markdown emphasis around the marker
    and around the whole action is no part of either.
    """
    text = completion.text
    markers = list(_MARKER.finditer(text))
    actions = [marker for marker in markers if marker.group(1).lower() == "action"]
    thought = text[: actions[0].start()] if actions else text
    if markers and markers[0].group(1).lower() == "thought":
        thought = thought[markers[0].end() :]
    thought = thought.strip()
    if completion.finish_reason == "length":
        return thought, None, "Your reply was cut off before its end. Be brief."
    if not text.strip():
        return "", None, "Your reply was empty. Expected 'Action: <one action>'."
    if not actions:
        return thought, None, "Your reply holds no line 'Action: <one action>'."
    if len(actions) > 1:
        return thought, None, f"Your reply holds {len(actions)} lines 'Action: ...'; give exactly one."
    action = text[actions[0].end() :].strip()
    for mark in ("**", "__", "*", "`"):
        # The marker's own emphasis may close after the action: **Action: knock**
        action = action.removeprefix(mark).removesuffix(mark).strip()
    if "\n" in action:
        return thought, None, "Expected one line after 'Action:' and nothing behind it."
    return (thought, action, "") if action else (thought, None, "The line 'Action:' is empty.")
