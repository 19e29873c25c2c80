"""What the model calls of a run used and returned, beside its log: neither is paid for twice when it is resumed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from metagym.budget import Ledger
from metagym.budget.call_log import CallLog
from metagym.models import Cassette

CALLS = "calls.jsonl"
REPLIES = "replies.sqlite"


@contextlib.contextmanager
def keeping_model_calls(folder: Path, ledger: Ledger, cassette: Cassette | None = None) -> Iterator[None]:
    """Count what earlier calls in the run folder used, and log the calls and replies of the `with` block there.

    Replies are kept in `cassette` if one is given, instead of the folder.
    """
    with contextlib.ExitStack() as stack:
        calls = stack.enter_context(contextlib.closing(CallLog(folder / CALLS)))
        ledger.load(calls.read())
        stack.callback(setattr, ledger, "on_attempt", ledger.on_attempt)
        ledger.on_attempt = calls.write
        if cassette is None:
            cassette = stack.enter_context(contextlib.closing(Cassette(folder / REPLIES)))
        stack.enter_context(cassette.open())
        yield


def load_ledger(folder: Path) -> Ledger:
    """Return a ledger of what the model calls of a run folder used.

    Raises:
        RunFolderError: a line inside the log of calls is broken.
    """
    ledger = Ledger()
    ledger.load(CallLog(folder / CALLS).read())
    return ledger
