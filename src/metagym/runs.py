"""The run folder: a manifest and an append-only log, from which a run is resumed and read.

    RUN/manifest.json   what was asked for, and both fingerprints; written once, before the first episode
    RUN/log.jsonl       one line per finished episode, reflection and meta-step, as they finish

Nothing in the log is ever changed. A run is resumed by running it again over the log: the tasks drawn
are the same, and what the log holds is taken from it instead of being played.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TextIO

from pydantic import ValidationError

from metagym.errors import RunFolderError
from metagym.types import SCHEMA_VERSION, Episode, MetaStep, Record, Reflection, Trajectory

logger = logging.getLogger(__name__)

MANIFEST, LOG = "manifest.json", "log.jsonl"
Key = tuple[int, str, str, int]
"""(meta_step, arm, task id, repetition), which with the prompt names an episode of the run."""


class Manifest(Record):
    """What was asked for: enough to run it again."""

    schema_version: Literal[1] = SCHEMA_VERSION
    env_id: str
    env_options: dict[str, Any] = {}
    """Keyword arguments of `gym.make`, the actor's spec among them."""
    reflector: Any
    """The reflector's spec: a name, an import path, or a mapping."""
    seed: int
    num_steps: int
    first_prompt: str | None = None
    measurement: dict[str, Any] = {}
    """The measurement fingerprint: must match before two runs are compared."""
    arm: Any = None
    """The arm's fingerprint: the reflector, which is what is compared."""
    scripted: bool = False
    """Whether a scripted stand-in plays or reflects."""


class LoggedReflection(Record):
    """A reflection's line in the log."""

    index: int
    """The meta-step that was reflected upon."""
    reflection: Reflection


class LoggedMetaStep(Record):
    """A meta-step's line in the log: it names its episodes, whose lines came before."""

    schema_version: Literal[1] = SCHEMA_VERSION
    index: int
    prompt: str
    reward: float | None
    episodes: tuple[Key, ...]


class RunFolder:
    """An open run folder: keeps what is played, and gives back what was played before.

    It is a `Recorder` for `MetaEnv.record_to` and a `Log` for `optimize`. Make one with `create` or `open`.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path, self.manifest = path, manifest
        self._episodes: dict[tuple[Key, str], Trajectory] = {}
        self._reflections: dict[int, Reflection] = {}
        self._meta_steps: dict[int, LoggedMetaStep] = {}
        self._lock = threading.Lock()  # episodes come from the engine's thread
        self._file: TextIO | None = None

    @classmethod
    def create(cls, path: str | Path, manifest: Manifest) -> RunFolder:
        """Make a new run folder.

        Raises:
            RunFolderError: there is a run already, or the place cannot be written.
        """
        path = Path(path)
        if (path / MANIFEST).exists():
            raise RunFolderError(f"{path} holds a run already. Go on with it (metagym resume {path}), or name another.")
        try:
            path.mkdir(parents=True, exist_ok=True)
            part = path / f"{MANIFEST}.part"
            part.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
            part.replace(path / MANIFEST)
        except OSError as error:
            raise RunFolderError(f"Expected a folder that can be written at {path}: {error}.") from error
        return cls(path, manifest)

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Open a run folder and read its log. A torn last line, left by a crash, is dropped with a warning.

        Raises:
            RunFolderError: there is no run, it is of another schema, or a line inside the log is broken.
        """
        path = Path(path)
        run = cls(path, _read_manifest(path))
        log = path / LOG
        lines = log.read_bytes().splitlines(keepends=True) if log.exists() else []
        for number, line in enumerate(lines, start=1):
            if not line.endswith(b"\n"):
                logger.warning("The last line of %s was torn by a crash; it is dropped.", log)
                break
            try:
                run._take(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                raise RunFolderError(
                    f"Line {number} of {log} is broken: {error}. Cut the file before that line to go on from there."
                ) from error
        return run

    def check_fingerprints(self, measurement: Mapping[str, Any], arm: Any) -> None:
        """Make sure that the run goes on with what it began with.

        Raises:
            RunFolderError: something differs; the message names it.
        """
        now = json.loads(json.dumps({**measurement, "reflector": arm}))
        then = {**self.manifest.measurement, "reflector": self.manifest.arm}
        names = [name for name in sorted({*now, *then}) if now.get(name) != then.get(name)]
        if names:
            told = "; ".join(f"{name}: was {then.get(name)!r}, is {now.get(name)!r}" for name in names)
            raise RunFolderError(f"{self.path} cannot go on, as its fingerprint differs ({told}). Start a new run.")

    # Recorder and Log -------------------------------------------------------------------------------

    def record_episode(self, trajectory: Trajectory) -> None:
        """Append a finished episode."""
        self._episodes[_name(trajectory.episode)] = trajectory
        self._append("episode", trajectory)

    def recall_episode(self, episode: Episode) -> Trajectory | None:
        """Return the record of this very episode; None where it was not played, or failed.

        Raises:
            RunFolderError: the log holds another episode in its place.
        """
        trajectory = self._episodes.get(_name(episode))
        if trajectory is None or trajectory.score is None:
            return None
        if trajectory.episode != episode:
            raise RunFolderError(
                f"The log of {self.path} holds another episode at {episode.key}: its task or its seed differs. "
                "It was written by another run; start a new one."
            )
        return trajectory

    def record_reflection(self, index: int, reflection: Reflection) -> None:
        """Append the reflection on meta-step `index`."""
        self._reflections[index] = reflection
        self._append("reflection", LoggedReflection(index=index, reflection=reflection))

    def recall_reflection(self, index: int) -> Reflection | None:
        """Return the reflection on meta-step `index`; None where there is none yet."""
        return self._reflections.get(index)

    def record_meta_step(self, meta_step: MetaStep) -> None:
        """Append a finished meta-step; one that the log holds already is not written again.

        Raises:
            RunFolderError: the log holds another meta-step in its place.
        """
        logged = LoggedMetaStep(
            index=meta_step.index,
            prompt=meta_step.prompt,
            reward=meta_step.reward,
            episodes=tuple(trajectory.episode.key for trajectory in meta_step.trajectories),
        )
        before = self._meta_steps.setdefault(meta_step.index, logged)
        if before is not logged:
            if before != logged:
                raise RunFolderError(
                    f"The log of {self.path} holds another meta-step {meta_step.index}, so the run did not repeat "
                    "itself. Is its actor or its reflector random? Start a new run."
                )
            return
        self._append("meta_step", logged)

    # Reading ----------------------------------------------------------------------------------------

    @property
    def history(self) -> tuple[MetaStep, ...]:
        """The finished meta-steps in order, with their trajectories and reflections."""
        return tuple(
            MetaStep(
                index=logged.index,
                prompt=logged.prompt,
                reward=logged.reward,
                trajectories=tuple(self._episodes[key, logged.prompt] for key in logged.episodes),
                reflection=self._reflections.get(logged.index - 1),
            )
            for _, logged in sorted(self._meta_steps.items())
        )

    @property
    def trajectories(self) -> tuple[Trajectory, ...]:
        """The records of all episodes, those of `replay` among them, in the order in which they finished."""
        return tuple(self._episodes.values())

    @property
    def num_episodes(self) -> int:
        """How many episodes the log holds."""
        return len(self._episodes)

    def close(self) -> None:
        """Close the log. Twice is fine."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _take(self, line: dict[str, Any]) -> None:
        kind, record = line["kind"], line["record"]
        if kind == "episode":
            trajectory = Trajectory.model_validate(record)
            self._episodes[_name(trajectory.episode)] = trajectory
        elif kind == "reflection":
            reflection = LoggedReflection.model_validate(record)
            self._reflections[reflection.index] = reflection.reflection
        elif kind == "meta_step":
            meta_step = LoggedMetaStep.model_validate(record)
            self._meta_steps[meta_step.index] = meta_step
        else:
            raise ValueError(f"unknown kind {kind!r}")

    def _append(self, kind: str, record: Record) -> None:
        line = f'{{"kind":"{kind}","record":{record.model_dump_json()}}}\n'
        with self._lock:
            if self._file is None:
                self._file = _open_whole(self.path / LOG)
            self._file.write(line)
            self._file.flush()


def _name(episode: Episode) -> tuple[Key, str]:
    return episode.key, episode.prompt


def _open_whole(log: Path) -> TextIO:
    """Open the log for appending, after its last whole line."""
    if log.exists():
        content = log.read_bytes()
        end = content.rfind(b"\n") + 1
        if end < len(content):
            os.truncate(log, end)
    return log.open("a", encoding="utf-8")


def _read_manifest(path: Path) -> Manifest:
    try:
        text = (path / MANIFEST).read_text(encoding="utf-8")
    except OSError as error:
        raise RunFolderError(f"Expected a run folder (one with {MANIFEST} in it) at {path}: {error}.") from error
    try:
        version = json.loads(text).get("schema_version")
        if version != SCHEMA_VERSION:
            raise RunFolderError(
                f"{path} has schema version {version!r}, this metagym reads {SCHEMA_VERSION}. Install the one that "
                "wrote it."
            )
        return Manifest.model_validate_json(text)
    except (ValidationError, ValueError, AttributeError) as error:
        raise RunFolderError(f"{path / MANIFEST} is broken: {error}") from error
