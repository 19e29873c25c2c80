"""Findings: what was checked, its state, and the remedy."""

from __future__ import annotations

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
    """What was checked, and the result."""

    topic: Text
    state: State
    message: Text
    """The facts; if something is wrong, what was expected and what was found."""
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
