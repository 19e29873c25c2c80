"""What the runs below a folder used: model calls and episodes of earlier processes, which a budget counts, too."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from metagym.budget import CallLog, Ledger
from metagym.env import MetaEnv
from metagym.models.cassette import Cassette, open_cassette
from metagym.runs.folder import CALLS, LOG, REPLIES, RunFolder
from metagym.runs.journal import Journal
from metagym.types import Episode, Trajectory

PLAYED = "played.jsonl"


@contextlib.contextmanager
def keeping_model_calls(folder: Path, ledger: Ledger) -> Iterator[None]:
    """Count the use of earlier calls in the run folder, and log the calls and replies of the `with` block there.

    A resumed run pays for no call twice. If a cassette is open, it keeps the replies, and not the folder.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_logging_model_calls(folder, ledger))
        if open_cassette() is None:
            cassette = stack.enter_context(contextlib.closing(Cassette(folder / REPLIES)))
            stack.enter_context(cassette.open())
        yield


@contextlib.contextmanager
def counting_replays(folder: Path, env: MetaEnv) -> Iterator[None]:
    """Count the use of all runs at and below the folder, and that of the `with` block, but keep no replies.

    Each replay is played, even of an episode that was played before: a random actor may play it differently.
    """
    load_usage(folder, env.ledger)
    with _logging_model_calls(folder, env.ledger), contextlib.closing(_PlayedEpisodes(folder)) as played:
        before = env.record_to(played)
        try:
            yield
        finally:
            env.record_to(before)


@contextlib.contextmanager
def _logging_model_calls(folder: Path, ledger: Ledger) -> Iterator[None]:
    with contextlib.closing(CallLog(folder / CALLS)) as calls:
        _book(calls, ledger)
        before, ledger.on_attempt = ledger.on_attempt, calls.write
        try:
            yield
        finally:
            ledger.on_attempt = before


class _PlayedEpisodes:
    """A recorder that recalls nothing: `RUN/played.jsonl` has a line for each finished episode, to count them."""

    def __init__(self, folder: Path) -> None:
        self._journal = Journal(folder / PLAYED)
        self._num_earlier = sum(1 for _ in self._journal.lines())

    def count_in(self, ledger: Ledger) -> None:
        ledger.count_earlier_episodes(self._journal.path.resolve(), self._num_earlier)

    def record_episode(self, trajectory: Trajectory) -> None:
        if trajectory.score is not None:
            line = {"task": trajectory.task.id, "score": trajectory.score}
            self._journal.append(json.dumps(line).encode() + b"\n")

    def recall_episode(self, episode: Episode) -> None:
        return None

    def close(self) -> None:
        self._journal.close()


def load_usage(folder: Path, ledger: Ledger) -> None:
    """Count the use of all runs below the folder, so that a budget holds for them together; each log counts once."""
    for path in sorted(folder.rglob(CALLS)):
        _book(CallLog(path), ledger)
    if "episodes" in ledger.limited_units:  # only then: long logs take time to read
        for path in sorted(folder.rglob(LOG)):
            with RunFolder.open(path.parent) as run:
                run.count_in(ledger)


def _book(calls: CallLog, ledger: Ledger) -> None:
    attempts = list(calls.read())
    if (log := calls.path.resolve()) not in ledger.loaded:  # a run may be continued in the process that began it
        ledger.load(attempts)
        ledger.loaded.add(log)


def load_ledger(folder: Path) -> Ledger:
    """Return a ledger of the model calls of a run folder."""
    ledger = Ledger()
    ledger.load(CallLog(folder / CALLS).read())
    return ledger
