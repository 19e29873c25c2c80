"""The noun of the doctor: what was looked at, how it is, and what mends it."""

from __future__ import annotations

from enum import StrEnum

from metagym.types import Record


class State(StrEnum):
    """How something is."""

    OK = "ok"
    WARNING = "warning"
    """Works, but not as one would want it, or not yet set."""
    PROBLEM = "problem"
    """Does not work; the command line then exits with 1."""


class Finding(Record):
    """What was looked at, and what came of it."""

    topic: str
    state: State
    message: str
    """What was found: expected and got, where something is wrong."""
    remedy: str = ""
    """The command or the setting that mends it; empty where nothing is wrong."""


def ok(topic: str, message: str) -> Finding:
    """Return that something is as it should be."""
    return Finding(topic=topic, state=State.OK, message=message)


def warning(topic: str, message: str, remedy: str) -> Finding:
    """Return that something could be better."""
    return Finding(topic=topic, state=State.WARNING, message=message, remedy=remedy)


def problem(topic: str, message: str, remedy: str) -> Finding:
    """Return that something does not work."""
    return Finding(topic=topic, state=State.PROBLEM, message=message, remedy=remedy)
