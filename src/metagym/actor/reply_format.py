"""The forms in which a language model says its action: what is asked of it, and how its reply is read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from metagym.errors import UnknownNameError
from metagym.models.constraint import JSON_MEANS, MAX_THOUGHT, ReplyForm, action_in_json
from metagym.types import Completion

_MARKER = re.compile(r"^[ \t>#*_`]*(thought|action)[*_`]*[ \t]*:[*_`]*[ \t]*", re.IGNORECASE | re.MULTILINE)


class ReplyFormat(NamedTuple):
    """The instruction that follows the prompt in the actor's system message."""

    text: str
    """The form, if no actions are listed."""
    text_with_actions: str
    """The form, if the available actions are listed; `{action}` is replaced by one of them."""
    stop: tuple[str, ...] = ("\nObservation:",)
    """Strings that end a reply: what follows is an observation that the model invents."""

    def instruction(self, actions: Sequence[str] | None) -> str:
        """Return the text for an episode whose first observation lists `actions`; the first of them is the example."""
        return self.text_with_actions.replace("{action}", actions[0]) if actions else self.text


_REACT = """\
Reply with your reasoning and exactly one action, in this form:
Thought: <your reasoning>
Action: <one action>"""
_COPY = "The action is copied letter by letter from the latest list of available actions, for example:"

REPLY_FORMATS = {
    "react": ReplyFormat(_REACT, f"{_REACT}\n{_COPY}\nAction: {{action}}"),
    "act": ReplyFormat(
        "Reply with exactly one action and nothing else.",
        f"Reply with exactly one action and nothing else. {_COPY}\n{{action}}",
    ),
}
"""The formats by name. "react" is the turn of Yao et al. 2022 (ReAct): a thought, then an action."""


_MARKER_TOKENS = 16
_EXPECTED = {"react": "'Action: <one action>'.", "act": "one action."}


def find_reply_format(name: str) -> ReplyFormat:
    """Return the format of that name."""
    if name not in REPLY_FORMATS:
        raise UnknownNameError.of("reply_format", name, REPLY_FORMATS)
    return REPLY_FORMATS[name]


def reply_form(name: str, actions: Sequence[str] | None, max_reply_tokens: int | None) -> ReplyForm:
    """Return what a reply in that format is held to; the thought is short enough for the token limit of the reply."""
    actions = tuple(dict.fromkeys(action for action in actions or () if action.strip() and "\n" not in action))
    if name == "act":
        return ReplyForm(actions, None)
    longest = max(map(len, actions), default=0)
    room = MAX_THOUGHT if max_reply_tokens is None else max_reply_tokens - longest - _MARKER_TOKENS
    return ReplyForm(actions, max(1, min(MAX_THOUGHT, room)))


def read_reply(completion: Completion, reply_format: str = "react") -> tuple[str, str | None, str]:
    """Read a reply in the form `reply_format`; return the thought, the action or None, and the problem.

    It is strict: one action, on one line, in a reply that was not cut off. Markdown emphasis around the marker or
    the whole action is removed. In the form "act" the line `Action:` may be left out.
    """
    if completion.constraint == JSON_MEANS and completion.is_whole:
        thought, found = action_in_json(completion.text)
        return thought, found, "" if found is not None else "Your reply is no JSON object with an 'action'."
    text = completion.text
    markers = list(_MARKER.finditer(text))
    actions = [marker for marker in markers if marker.group(1).lower() == "action"]
    thought = text[: actions[0].start()] if actions else text
    if markers and markers[0].group(1).lower() == "thought":
        thought = thought[markers[0].end() :]
    thought = thought.strip()
    if completion.finish_reason == "content_filter":
        return thought, None, "The server's content filter stopped your reply."
    if not completion.is_whole:
        return thought, None, "Your reply was cut off before its end. Be brief."
    if completion.tool_calls and not actions and not (reply_format == "act" and text.strip()):
        calls = ", ".join(completion.tool_calls)
        return (
            thought,
            None,
            f"Your reply calls a tool ({calls:.200}), and there is none. Expected {_EXPECTED[reply_format]}",
        )
    if not text.strip():
        return "", None, "Your reply was empty. Expected " + _EXPECTED[reply_format]
    if not actions and (reply_format != "act" or markers):
        return thought, None, "Your reply holds no line 'Action: <one action>'."
    if len(actions) > 1:
        return thought, None, f"Your reply holds {len(actions)} lines 'Action: ...'; give exactly one."
    action = text[actions[0].end() :].strip() if actions else text.strip()
    for mark in () if completion.constraint else ("**", "__", "*", "`"):
        # The marker's own emphasis may close after the action: **Action: knock**
        action = action.removeprefix(mark).removesuffix(mark).strip()
    if "\n" in action:
        place = "after 'Action:' and nothing behind it" if actions else "with the action and nothing else"
        return thought, None, f"Expected one line {place}."
    thought = thought if actions else ""
    return (thought, action, "") if action else (thought, None, "The line 'Action:' is empty.")
