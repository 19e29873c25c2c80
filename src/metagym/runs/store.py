"""The record store: keeps records and returns them by kind and key. Two backends: a run folder, and memory.

kind          key                            record
episode       the episode itself             Trajectory (`record_episode`, `recall_episode`)
reflection    (meta-episode, meta-step)      Reflection; the meta-episode is "" in a run that holds only one
meta_step     meta-step                      MetaStep
measurement   (family, seed, role, index)    Measurement
learned       (family, seed)                 Learned
copies        (family, seed)                 Copies
added_seeds   number of seeds                AddedSeeds
"""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Protocol, TypeVar, cast

from pydantic import ValidationError

from metagym.errors import RunFolderError
from metagym.runs.manifest import Manifest
from metagym.types import Episode, Record, Trajectory

R = TypeVar("R", bound=Record)


def read_record(file: Path, kind: type[R]) -> R:
    """Return the record in a JSON file; RunFolderError names the fault of the file."""
    try:
        return kind.model_validate_json(file.read_bytes())
    except OSError as error:
        raise RunFolderError(f"Expected a {kind.__name__} in {file}: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise RunFolderError(
            f"Expected a {kind.__name__} in {file}, got a broken file: {place} {first['msg']}. Remove it, and give the "
            "command again that wrote it."
        ) from error


@contextlib.contextmanager
def writing_to(path: str | Path) -> Iterator[None]:
    """Raise RunFolderError, which names the path, if the body cannot write to it."""
    try:
        yield
    except OSError as error:
        raise RunFolderError(f"Expected a place that can be written at {path}: {error}. Name another one.") from error


class RecordStore(Protocol):
    """Keeps records. A kind of record is named by its class, so that a record comes back with its type."""

    manifest: Manifest

    def record_episode(self, trajectory: Trajectory) -> None:
        """Keep a finished episode."""

    def recall_episode(self, episode: Episode) -> Trajectory | None:
        """Return the record of this very episode, or None if it was not played or failed."""

    def put(self, key: Hashable, record: Record) -> None:
        """Keep a record of any other kind; it takes the place of an earlier one of its kind and key."""

    def get(self, kind: type[R], key: Hashable) -> R | None:
        """Return the record of that kind and key, or None."""

    def all(self, kind: type[R]) -> Mapping[Hashable, R]:
        """Return the records of a kind by their keys, in the order in which they were first kept."""

    def close(self) -> None:
        """Close files. A second call does nothing."""


class MemoryStore:
    """Keeps all records except episodes, in memory."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self._tables: dict[type[Record], dict[Hashable, Record]] = {}

    def record_episode(self, trajectory: Trajectory) -> None:
        """Forget the episode."""

    def recall_episode(self, episode: Episode) -> Trajectory | None:
        """Return None: no episode is kept."""
        return None

    def put(self, key: Hashable, record: Record) -> None:
        """Keep a record; it takes the place of an earlier one of its kind and key."""
        self._tables.setdefault(type(record), {})[key] = record

    def get(self, kind: type[R], key: Hashable) -> R | None:
        """Return the record of that kind and key, or None."""
        return cast("R | None", self._tables.get(kind, {}).get(key))

    def all(self, kind: type[R]) -> Mapping[Hashable, R]:
        """Return the records of a kind by their keys, in the order in which they were first kept."""
        return cast("dict[Hashable, R]", dict(self._tables.get(kind, {})))

    def close(self) -> None:
        """Do nothing."""
