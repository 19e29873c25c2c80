"""The run folder: a manifest and an append-only log, from which a run is resumed and read.

    RUN/manifest.json   what was asked for, and both fingerprints; written once, before the first episode
    RUN/log.jsonl       one line per finished episode, reflection, meta-step and measurement, as they finish
    RUN/lock            held by the one process that writes

Nothing in the log is ever changed. A run is resumed by running it again over the log: the tasks drawn
are the same, and what the log holds is taken from it instead of being played. Episodes stay on the disk and
are read when they are asked for, so that a long run opens quickly; no environment is needed to read one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import pydantic_core

from metagym.errors import RunFolderError
from metagym.runs.journal import Journal, Place
from metagym.runs.manifest import MANIFEST, Manifest, read_manifest
from metagym.runs.measurements import Learned, Measurement
from metagym.types import SCHEMA_VERSION, Episode, MetaStep, Record, Reflection, Trajectory

LOG = "log.jsonl"
Key = tuple[int, str, str, int]
"""(meta_step, arm, task id, repetition), which with the prompt names an episode of the run."""


class LoggedReflection(Record):
    """A reflection's line in the log."""

    arm: str = ""
    """The meta-episode, where a run holds several."""
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
        self._journal = Journal(path / LOG)
        self._episodes: dict[tuple[Key, str], tuple[Place, bool]] = {}
        self._reflections: dict[tuple[str, int], Reflection] = {}
        self._meta_steps: dict[int, LoggedMetaStep] = {}
        self._measurements: dict[tuple[str, int, str, int], Measurement] = {}
        self._learned: dict[tuple[str, int], Learned] = {}

    @classmethod
    def create(cls, path: str | Path, manifest: Manifest) -> RunFolder:
        """Make a new run folder, and become its one writer.

        Raises:
            RunFolderError: there is a run already, or the place cannot be written.
        """
        path = Path(path)
        run = cls(path, manifest)
        try:
            if (path / MANIFEST).exists():
                raise RunFolderError(
                    f"{path} holds a run already. Go on with it (metagym resume {path}), or name another."
                )
            path.mkdir(parents=True, exist_ok=True)
            run._journal.lock()
            part = path / f"{MANIFEST}.part"
            part.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
            part.replace(path / MANIFEST)
        except OSError as error:
            run.close()
            raise RunFolderError(f"Expected a folder that can be written at {path}: {error}.") from error
        return run

    @classmethod
    def open(cls, path: str | Path, *, writing: bool = False) -> RunFolder:
        """Open a run folder and read its log; with `writing`, as its one writer.

        A torn last line, left by a crash, is dropped with a warning.

        Raises:
            RunFolderError: there is no run, it is of another schema, a line inside the log is broken, or
                another process writes to it.
        """
        path = Path(path)
        run = cls(path, read_manifest(path))
        if writing:
            run._journal.lock()
        try:
            run._read_log()
        except BaseException:
            run.close()
            raise
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
        place = self._append("episode", trajectory)
        self._episodes[_name(trajectory.episode)] = place, trajectory.score is None

    def recall_episode(self, episode: Episode) -> Trajectory | None:
        """Return the record of this very episode; None where it was not played, or failed.

        Raises:
            RunFolderError: the log holds another episode in its place.
        """
        place, failed = self._episodes.get(_name(episode), (None, True))
        if place is None or failed:
            return None
        trajectory = self._read_episode(place)
        if trajectory.episode != episode:
            raise RunFolderError(
                f"The log of {self.path} holds another episode at {episode.key}: its task or its seed differs. "
                "It was written by another run; start a new one."
            )
        return trajectory

    def record_reflection(self, index: int, reflection: Reflection, *, arm: str = "") -> None:
        """Append the reflection on meta-step `index`, of the meta-episode `arm` where there are several."""
        self._append("reflection", LoggedReflection(arm=arm, index=index, reflection=reflection))
        self._reflections[arm, index] = reflection

    def recall_reflection(self, index: int, *, arm: str = "") -> Reflection | None:
        """Return the reflection on meta-step `index`; None where there is none yet."""
        return self._reflections.get((arm, index))

    def record_measurement(self, measurement: Measurement) -> None:
        """Append a measurement."""
        self._append("measurement", measurement)
        self._measurements[measurement.key] = measurement

    def recall_measurement(self, key: tuple[str, int, str, int]) -> Measurement | None:
        """Return the measurement of that key; None where there is none yet."""
        return self._measurements.get(key)

    def record_learned(self, learned: Learned) -> None:
        """Append what a meta-episode learned within its budget."""
        self._append("learned", learned)
        self._learned[learned.key] = learned

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
        """The finished meta-steps in order, with their trajectories and reflections.

        Raises:
            RunFolderError: the log does not hold an episode that a meta-step names.
        """
        return tuple(
            MetaStep(
                index=logged.index,
                prompt=logged.prompt,
                reward=logged.reward,
                trajectories=tuple(self._episode_of(key, logged) for key in logged.episodes),
                reflection=self._reflections.get(("", logged.index - 1)),
            )
            for _, logged in sorted(self._meta_steps.items())
        )

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """The measurements in the order in which they were made."""
        return tuple(self._measurements.values())

    @property
    def learned(self) -> tuple[Learned, ...]:
        """What the meta-episodes learned within their budgets, in the order in which they ended."""
        return tuple(self._learned.values())

    @property
    def reflections(self) -> tuple[Reflection, ...]:
        """All reflections, in the order in which they were made."""
        return tuple(self._reflections.values())

    @property
    def reflected(self) -> dict[tuple[str, int], Reflection]:
        """The reflections by meta-episode (empty where a run holds only one) and meta-step."""
        return dict(self._reflections)

    @property
    def is_writing(self) -> bool:
        """Whether this process is the run's writer."""
        return self._journal.is_locked

    @property
    def trajectories(self) -> tuple[Trajectory, ...]:
        """The records of all episodes, those of `replay` among them, in the order in which they finished."""
        return tuple(self.episodes())

    @property
    def num_episodes(self) -> int:
        """How many episodes the log holds."""
        return len(self._episodes)

    @property
    def keys(self) -> tuple[Key, ...]:
        """The keys of all episodes, without reading them; one played under several prompts stands there once."""
        return tuple(dict.fromkeys(key for key, _ in self._episodes))

    def episodes(self, keep: Callable[[Key], bool] | None = None) -> Iterator[Trajectory]:
        """Yield the episodes in the order in which they finished, read one by one; only those that `keep` names."""
        for (key, _), (place, _) in sorted(self._episodes.items(), key=lambda item: item[1][0]):
            if keep is None or keep(key):
                yield self._read_episode(place)

    def close(self) -> None:
        """Close the log and give its lock back. Twice is fine."""
        self._journal.close()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _read_log(self) -> None:
        num_read = 0
        try:
            for place, line in self._journal.lines():
                self._take(place, line)
                num_read += 1
        except OSError as error:
            raise RunFolderError(f"Expected a log that can be read at {self.path / LOG}: {error}.") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            where = f"Line {num_read + 1} of {self.path / LOG} is broken"
            raise RunFolderError(f"{where}: {error}. Cut the file before that line to go on from there.") from error

    def _take(self, place: Place, text: bytes) -> None:
        line = pydantic_core.from_json(text)
        kind, record = line["kind"], line["record"]
        if record.get("schema_version", SCHEMA_VERSION) != SCHEMA_VERSION:
            raise ValueError(f"schema_version is {record['schema_version']!r}, this metagym reads {SCHEMA_VERSION}")
        if kind == "episode":
            episode = record["episode"]
            key: Key = (episode["meta_step"], episode["arm"], episode["task"]["id"], episode["repetition"])
            self._episodes[key, episode["prompt"]] = place, record["score"] is None
        elif kind == "reflection":
            reflection = LoggedReflection.model_validate(record)
            self._reflections[reflection.arm, reflection.index] = reflection.reflection
        elif kind == "meta_step":
            meta_step = LoggedMetaStep.model_validate(record)
            self._meta_steps[meta_step.index] = meta_step
        elif kind == "measurement":
            measurement = Measurement.model_validate(record)
            self._measurements[measurement.key] = measurement
        elif kind == "learned":
            learned = Learned.model_validate(record)
            self._learned[learned.key] = learned
        else:
            raise ValueError(f"unknown kind {kind!r}")

    def _episode_of(self, key: Key, meta_step: LoggedMetaStep) -> Trajectory:
        if (key, meta_step.prompt) not in self._episodes:
            raise RunFolderError(
                f"{self.path / LOG} names the episode {key} in meta-step {meta_step.index}, and does not hold it: "
                f"lines were removed. Go on with the run to play it again (metagym resume {self.path})."
            )
        return self._read_episode(self._episodes[key, meta_step.prompt][0])

    def _read_episode(self, place: Place) -> Trajectory:
        line, head = self._journal.read(place), _head("episode")
        if line.startswith(head) and line.endswith(
            _TAIL
        ):  # as `_append` writes it; another tool may write it otherwise
            return Trajectory.model_validate_json(line[len(head) : -len(_TAIL)])
        return Trajectory.model_validate(pydantic_core.from_json(line)["record"])

    def _append(self, kind: str, record: Record) -> Place:
        return self._journal.append(_head(kind) + record.model_dump_json().encode() + _TAIL)


_TAIL = b"}\n"


def _head(kind: str) -> bytes:
    return f'{{"kind":"{kind}","record":'.encode()


def _name(episode: Episode) -> tuple[Key, str]:
    return episode.key, episode.prompt
