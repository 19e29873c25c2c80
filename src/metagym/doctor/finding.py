"""Findings: a check, its state, and the remedy."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum

from metagym.types import Record, Text


class State(StrEnum):
    """The result of a check."""

    OK = "ok"
    WARNING = "warning"
    """It works, but could be better, or is not set yet."""
    PROBLEM = "problem"
    """It does not work; the command then exits with code 1."""


class Finding(Record):
    """A check, and its result."""

    topic: Text
    state: State
    message: Text
    """The facts; if something is wrong, the expected and the actual state."""
    remedy: Text = ""
    """The command or setting that fixes it; empty if nothing is wrong."""


def ok(topic: str, message: str) -> Finding:
    """Return a finding without a problem."""
    return Finding(topic=topic, state=State.OK, message=message)


def warning(topic: str, message: str, remedy: str) -> Finding:
    """Return a finding that is worth a look."""
    return Finding(topic=topic, state=State.WARNING, message=message, remedy=remedy)


def problem(topic: str, message: str, remedy: str) -> Finding:
    """Return a finding of something that does not work."""
    return Finding(topic=topic, state=State.PROBLEM, message=message, remedy=remedy)


def fix_command(findings: Iterable[Finding]) -> tuple[str, tuple[Finding, ...]]:
    """Return one shell command with all fixes that are commands, and the findings that are left for a person.

    >>> fix_command([problem("a", "", "pip install x"), warning("b", "", "pip install y x")])[0]
    'pip install x y'
    """
    packages: dict[str, None] = {}
    commands, by_hand = [], []
    for finding in findings:
        if not finding.remedy:
            continue
        # Prose has ", " or "; " in it; words in capitals and "..." are for a person to fill in.
        is_complete = not re.search(r"\b[A-Z]{4,}$|=NAME\b|FOLDER|FILE|HOST|\.\.\.|[,;] ", finding.remedy)
        words = finding.remedy.split()
        if words[:2] == ["pip", "install"] and not any(word.startswith("-") for word in words) and is_complete:
            packages.update(dict.fromkeys(words[2:]))
        elif words[0] in ("pip", "export", "metagym") and is_complete:
            commands.append(finding.remedy)
        else:
            by_hand.append(finding)
    if packages:
        commands.insert(0, " ".join(["pip", "install", *packages]))
    return " && ".join(commands), tuple(by_hand)
