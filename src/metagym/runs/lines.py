"""The lines of a run's log: the text of each kind of record, and how a line is read and checked."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Final, Literal

import pydantic_core
from pydantic import ValidationError

from metagym.runs.measurements import AddedSeeds, Copies, Learned, Measurement
from metagym.types import SCHEMA_VERSION, Record, Reflection, Text, Trajectory

Key = tuple[int, Text, Text, int]
"""(meta_step, arm, task id, repetition): with the prompt it names an episode of the run."""


class LoggedReflection(Record):
    """A reflection and its place."""

    arm: Text = ""
    """The meta-episode; empty if the run holds only one."""
    index: int
    """The meta-step on which it reflects."""
    reflection: Reflection

    @property
    def key(self) -> tuple[str, int]:
        """The name of the reflection within the run."""
        return (self.arm, self.index)


class LoggedMetaStep(Record):
    """A meta-step: names its episodes, whose lines come before it."""

    schema_version: Literal[1] = SCHEMA_VERSION
    index: int
    prompt: Text
    reward: float | None
    episodes: tuple[Key, ...]

    @property
    def key(self) -> Hashable:
        """The name of the meta-step within the run."""
        return self.index


Logged = LoggedReflection | LoggedMetaStep | Measurement | Learned | Copies | AddedSeeds
KINDS: Final[dict[str, type[Trajectory | Logged]]] = {
    "episode": Trajectory,
    "reflection": LoggedReflection,
    "meta_step": LoggedMetaStep,
    "measurement": Measurement,
    "learned": Learned,
    "copies": Copies,
    "added_seeds": AddedSeeds,
}
_NAMES: dict[type[Record], str] = {kind: name for name, kind in KINDS.items()}
_TAIL = b"}\n"


class OtherSchemaError(ValueError):
    """A line of another version of the layout: it is not broken, and only its own version can read it."""


def line_of(record: Record) -> bytes:
    """Return the line that holds the record."""
    return _head(_NAMES[type(record)]) + record.model_dump_json().encode() + _TAIL


def read_line(line: bytes) -> Trajectory | Logged:
    """Return the record in a line, checked as a whole.

    Raises:
        OtherSchemaError: another version wrote it.
        ValueError: it is broken; the message says how.
    """
    # `line_of` writes an episode so; another tool may write it differently.
    if line.startswith(_EPISODE) and line.endswith(_TAIL):
        try:
            return Trajectory.model_validate_json(line[len(_EPISODE) : -len(_TAIL)])
        except ValidationError:
            pass  # the slow way names the mistake
    try:
        content: Any = pydantic_core.from_json(line)
        kind, record = content["kind"], content["record"]
        version = record.get("schema_version", SCHEMA_VERSION)
    except (KeyError, TypeError, AttributeError):
        raise ValueError("expected a kind and a record") from None
    if version != SCHEMA_VERSION:
        raise OtherSchemaError(f"schema_version is {version!r:.20}, this metagym reads {SCHEMA_VERSION}")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r:.40}")
    try:
        return KINDS[kind].model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _head(kind: str) -> bytes:
    return f'{{"kind":"{kind}","record":'.encode()


_EPISODE = _head("episode")
