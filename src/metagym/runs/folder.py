"""The run folder: a manifest and an append-only log, from which a run is read and resumed.

    RUN/manifest.json   the options of the run, and both fingerprints; written once, before the first episode
    RUN/log.jsonl       one line for each finished episode, reflection, meta-step and measurement
    RUN/calls.jsonl     the model calls and their use            RUN/replies.sqlite   the models' replies
    RUN/report.json     the figures of an evaluation, when it ends
    RUN/notes.jsonl     notes of people on episodes
    RUN/times.json      when each process that wrote to the run started and ended
    RUN/lock            held by the one process that writes

No line of the log is ever changed. A run is resumed by running it again over the log: the tasks drawn
are the same, and an episode that the log holds is read instead of played. Episodes stay on disk and
are read on demand, so that a long run opens quickly; no environment is needed to read one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from metagym.bad_replies import ReplyCounts, unused_reflections
from metagym.budget import CallLog, Ledger
from metagym.errors import RunFolderError
from metagym.files import quoted, write_whole
from metagym.runs.journal import Journal, Place
from metagym.runs.lines import Key as Key
from metagym.runs.lines import Logged, LoggedMetaStep, LoggedReflection, OtherSchemaError, line_of, read_line
from metagym.runs.manifest import MANIFEST, Manifest, differences_in_words, read_manifest
from metagym.runs.measurements import Measurement, Role
from metagym.runs.store import MemoryStore, R
from metagym.runs.times import Clock, SessionTimes, utc_now
from metagym.types import Episode, MetaStep, Record, Reflection, Trajectory
from metagym.types.plain_values import plain_json

logger = logging.getLogger(__name__)

LOG = "log.jsonl"
CALLS = "calls.jsonl"
REPLIES = "replies.sqlite"
REPORT = "report.json"
TUNED = "constant_prompt.json"
"""The result of a run that tunes a constant prompt."""


class RunFolder:
    """An open run folder: a `RecordStore` for `MetaEnv.record_to` and `optimize`. Make one with `create` or `open`."""

    def __init__(self, path: Path, manifest: Manifest, *, clock: Clock = utc_now) -> None:
        self.path, self.manifest = path, manifest
        self._times = SessionTimes(path, path / LOG, clock)
        self._journal = Journal(path / LOG)
        self._episodes: dict[tuple[Key, str], tuple[Place, bool]] = {}
        self._prompts: dict[tuple[str, int], list[str]] = {}
        """The prompts that each meta-step was played under, by meta-episode and index; the earliest first."""
        self._records = MemoryStore(manifest)  # all kinds except episodes
        self._replies = ReplyCounts()

    @classmethod
    def create(cls, path: str | Path, manifest: Manifest, *, clock: Clock = utc_now) -> RunFolder:
        """Make a new run folder and become its only writer; a folder that already holds a run is refused."""
        path = Path(path)
        run = cls(path, manifest, clock=clock)
        try:
            if (path / MANIFEST).exists():
                raise RunFolderError(
                    f"{path} already holds a run. Resume it (metagym resume {quoted(path)}), or name another folder."
                )
            if (path / LOG).exists() and (path / LOG).stat().st_size:
                raise RunFolderError(
                    f"{path} holds the log of a run without its {MANIFEST}. Put that file back, or name another folder."
                )
            path.mkdir(parents=True, exist_ok=True)
            run._journal.lock()
            write_whole(path / MANIFEST, manifest.model_dump_json(indent=2) + "\n")
            run._times.start()
        except OSError as error:
            run.close()
            raise RunFolderError(f"Expected a folder that can be written at {path}: {error}.") from error
        return run

    @classmethod
    def open(cls, path: str | Path, *, writing: bool = False, clock: Clock = utc_now) -> RunFolder:
        """Open a run folder and read its log, without a torn last line; with `writing`, become its only writer.

        Raises:
            RunFolderError: there is no run, its schema is another one, its log is broken, or it has a writer.
        """
        path = Path(path)
        run = cls(path, read_manifest(path), clock=clock)
        if writing:
            run._journal.lock()
            run._times.start()
        try:
            run._read_log()
            if writing:  # a broken line would be found only after the first call
                for _ in CallLog(path / CALLS).read():
                    pass
        except BaseException:
            run.close()
            raise
        return run

    def count_in(self, ledger: Ledger) -> None:
        """Count the finished episodes of the log in the ledger of the run that continues it, once."""
        num_finished = sum(not failed for _, failed in self._episodes.values())
        ledger.count_earlier_episodes((self.path / LOG).resolve(), num_finished)

    def check_fingerprints(self, measurement: Mapping[str, Any], arm: Any) -> None:
        """Raise RunFolderError unless the run is resumed with the measurement and the arm that it started with."""
        now = plain_json({**measurement, "reflector": arm})
        then = {**self.manifest.measurement, "reflector": self.manifest.arm}
        changes = differences_in_words(then, now, "{}: was {}, is {}")
        if changes:
            raise RunFolderError(
                f"{self.path} cannot be resumed, because its fingerprint differs ({'; '.join(changes)}). Start a new "
                "run (--out FOLDER), or give the command with what the run was started with."
            )

    def record_episode(self, trajectory: Trajectory) -> None:
        """Append a finished episode."""
        episode, place = trajectory.episode, self._append(trajectory)
        self._replies.add(trajectory)
        self._episodes[episode.key, episode.prompt] = place, trajectory.score is None
        self._note_prompt(episode)

    def recall_episode(self, episode: Episode) -> Trajectory | None:
        """Return the record of this very episode, or None if it is to be played (again)."""
        place, failed = self._episodes.get((episode.key, episode.prompt), (None, True))
        if place is None or (failed and not self._is_tolerated(episode)):
            return None
        trajectory = self._read_episode(place)
        if trajectory.episode != episode:
            raise RunFolderError(
                f"The log of {self.path} holds another episode on the task {episode.task.id!r} of meta-step "
                f"{episode.meta_step}: its task or its seed differs. "
                "Another run wrote it. Start a new run."
            )
        return trajectory

    def _is_tolerated(self, episode: Episode) -> bool:
        """Whether the meta-step of a failed episode finished without it: then its reward has been used."""
        logged = self._records.get(LoggedMetaStep, episode.meta_step)
        if logged is not None:
            return logged.prompt == episode.prompt and episode.key in logged.episodes
        # An evaluation keeps the meta-steps of its many meta-episodes as measurements.
        return any(
            item.role is Role.ONLINE
            and (item.index, item.prompt) == (episode.meta_step, episode.prompt)
            and episode.arm.endswith(f"/{item.seed}")
            and episode.task.id in item.task_ids
            for item in self._records.all(Measurement).values()
        )

    def put(self, key: Hashable, record: Record) -> None:
        """Append a record of another kind. A meta-step that the log already holds is not written again.

        A reflection that the log had lost, and that has now written another prompt, gets the prompt that was played.
        """
        line = kept = record
        if isinstance(record, Reflection):
            arm, index = cast("tuple[str, int]", key)
            kept = self._with_played_prompt(arm, index, record)
            line = LoggedReflection(arm=arm, index=index, reflection=kept)
        elif isinstance(record, MetaStep):
            keys = tuple(trajectory.episode.key for trajectory in record.trajectories)
            line = kept = LoggedMetaStep(index=record.index, prompt=record.prompt, reward=record.reward, episodes=keys)
            before = self._records.get(LoggedMetaStep, key)
            if before == line:
                return
            if before is not None:
                raise RunFolderError(
                    f"The log of {self.path} holds a different meta-step {record.index}, so the run did not repeat "
                    "itself. Is its actor or its reflector random? Start a new run."
                )
        self._append(line)
        self._records.put(key, kept)

    def get(self, kind: type[R], key: Hashable) -> R | None:
        """Return the record of that kind and key, or None."""
        if issubclass(kind, MetaStep):
            logged = self._records.get(LoggedMetaStep, key)
            return None if logged is None else cast("R", self._meta_step(logged))
        return self._records.get(kind, key)

    def all(self, kind: type[R]) -> Mapping[Hashable, R]:
        """Return the records of a kind by their keys, in the order in which they were first kept."""
        if issubclass(kind, MetaStep):
            found = {key: self._meta_step(logged) for key, logged in self._records.all(LoggedMetaStep).items()}
            return cast("dict[Hashable, R]", found)
        return self._records.all(kind)

    @property
    def history(self) -> tuple[MetaStep, ...]:
        """The finished meta-steps in order, with their trajectories and reflections."""
        return tuple(sorted(self.all(MetaStep).values(), key=lambda meta_step: meta_step.index))

    @property
    def is_writing(self) -> bool:
        """Whether this process is the run's writer."""
        return self._journal.is_locked

    @property
    def trajectories(self) -> tuple[Trajectory, ...]:
        """The records of all episodes, including those of `replay`, in the order in which they finished."""
        return tuple(self.episodes())

    @property
    def warnings(self) -> tuple[str, ...]:
        """Faults of more than a fifth of the replies, episodes or reflections, one sentence each."""
        return (*self._replies.warnings, *unused_reflections(self.all(Reflection).values()))

    @property
    def num_episodes(self) -> int:
        """The number of episodes in the log."""
        return len(self._episodes)

    @property
    def keys(self) -> tuple[Key, ...]:
        """The keys of all episodes, without reading them; a key that several prompts share is listed once."""
        return tuple(dict.fromkeys(key for key, _ in self._episodes))

    @property
    def numbers(self) -> dict[tuple[Key, str], int]:
        """The number of each episode, by its key and prompt: from 0, in the order in which they finished."""
        places = sorted(self._episodes.items(), key=lambda item: item[1][0])
        return {name: number for number, (name, _) in enumerate(places)}

    def episodes(self, keep: Callable[[Key], bool] | None = None) -> Iterator[Trajectory]:
        """Read and yield the episodes that `keep` accepts, one by one, in the order in which they finished."""
        for (key, _), (place, _) in sorted(self._episodes.items(), key=lambda item: item[1][0]):
            if keep is None or keep(key):
                yield self._read_episode(place)

    def failed_episodes(self) -> Iterator[Trajectory]:
        """Read and yield the episodes that failed for infrastructure reasons."""
        return (self._read_episode(place) for place, failed in self._episodes.values() if failed)

    def finish(self) -> None:
        """Take that the run came to its own end, and keep it when the log is closed."""
        self._times.finish()

    def close(self) -> None:
        """Close the log and release its lock. A second call does nothing."""
        self._times.end()  # before the lock is free for another writer
        self._journal.close()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _read_log(self) -> None:
        number = 0
        try:
            for place, line in self._journal.lines():
                number += 1
                self._take(place, read_line(line))
        except OSError as error:
            raise RunFolderError(f"Expected a log that can be read at {self.path / LOG}: {error}.") from error
        except OtherSchemaError as error:
            raise RunFolderError(
                f"Line {number} of {self.path / LOG}: {error}. Install the version of metagym that wrote it."
            ) from error
        except ValueError as error:
            raise RunFolderError(
                f"Line {number} of {self.path / LOG} is broken: {error}. To set it aside and keep the rest: metagym "
                f"repair {self.path}"
            ) from error

    def _take(self, place: Place, record: Trajectory | Logged) -> None:
        if isinstance(record, Trajectory):
            episode = record.episode
            self._replies.add(record)
            self._episodes[episode.key, episode.prompt] = place, record.score is None
            self._note_prompt(episode)
        else:
            self._records.put(record.key, record.reflection if isinstance(record, LoggedReflection) else record)

    def _note_prompt(self, episode: Episode) -> None:
        prompts = self._prompts.setdefault((episode.arm, episode.meta_step), [])
        if episode.prompt not in prompts:
            prompts.append(episode.prompt)

    def _with_played_prompt(self, arm: str, index: int, reflection: Reflection) -> Reflection:
        played = self._prompts.get((arm, index + 1), [])
        if not played or reflection.prompt in played:
            return reflection
        prompt = played[0]
        problem = (
            f"The log had lost the reflection on meta-step {index}. It was made again, and wrote another prompt; the "
            f"prompt that meta-step {index + 1} was played under is kept."
        )
        logger.warning("In %s: %s", self.path, problem)
        return reflection.model_copy(update={"prompt": prompt, "problem": problem})

    def _meta_step(self, logged: LoggedMetaStep) -> MetaStep:
        return MetaStep(
            index=logged.index,
            prompt=logged.prompt,
            reward=logged.reward,
            trajectories=tuple(self._episode_of(key, logged) for key in logged.episodes),
            reflection=self._records.get(Reflection, ("", logged.index - 1)),
        )

    def _episode_of(self, key: Key, meta_step: LoggedMetaStep) -> Trajectory:
        if (key, meta_step.prompt) not in self._episodes:
            raise RunFolderError(
                f"{self.path / LOG} names the episode {key} in meta-step {meta_step.index}, but does not hold it: "
                f"lines were removed. Resume the run to play it again (metagym resume {quoted(self.path)})."
            )
        return self._read_episode(self._episodes[key, meta_step.prompt][0])

    def _read_episode(self, place: Place) -> Trajectory:
        return cast("Trajectory", read_line(self._journal.read(place)))

    def _append(self, record: Record) -> Place:
        self._times.add_line()
        return self._journal.append(line_of(record))
