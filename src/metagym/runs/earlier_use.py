"""What the runs below a folder used: model calls and episodes of earlier processes, which a budget counts, too."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from metagym.budget import CallLog, Ledger
from metagym.models.cassette import Cassette, open_cassette
from metagym.runs.folder import CALLS, LOG, REPLIES, RunFolder


@contextlib.contextmanager
def keeping_model_calls(folder: Path, ledger: Ledger) -> Iterator[None]:
    """Count what earlier calls in the run folder used, and log the calls and replies of the `with` block there.

    A resumed run pays for no call twice. If a cassette is open, it keeps the replies, and not the folder.
    """
    with contextlib.ExitStack() as stack:
        calls = stack.enter_context(contextlib.closing(CallLog(folder / CALLS)))
        _book(calls, ledger)
        stack.callback(setattr, ledger, "on_attempt", ledger.on_attempt)
        ledger.on_attempt = calls.write
        if open_cassette() is None:
            cassette = stack.enter_context(contextlib.closing(Cassette(folder / REPLIES)))
            stack.enter_context(cassette.open())
        yield


def load_usage(folder: Path, ledger: Ledger) -> None:
    """Count what all runs below the folder used, so that a budget holds for them together; each log counts once."""
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
    """Return a ledger of what the model calls of a run folder used."""
    ledger = Ledger()
    ledger.load(CallLog(folder / CALLS).read())
    return ledger
