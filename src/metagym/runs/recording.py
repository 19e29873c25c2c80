"""The recorded run in the package: a small language model plays and reflects, and its replies are kept.

It is played again through the real environment, without the model. `tools/record_run.py` makes it.
"""

from __future__ import annotations

import contextlib
import gzip
import tempfile
from collections.abc import Iterator
from pathlib import Path

from metagym.models import Cassette
from metagym.runs.manifest import Manifest
from metagym.types import MetaStep, Record, Text, digest

FOLDER = Path(__file__).parent / "recorded"
RECORDING, REPLIES = FOLDER / "recording.json", FOLDER / "replies.sqlite.gz"


class Recording(Record):
    """A run whose models were recorded."""

    about: Text
    """Which model played, when and on what, and how long it took."""
    manifest: Manifest
    """The options of the run; its models take their replies from the cassette."""
    digest: Text
    """The digest of the run's meta-steps; see `digest_of`."""


def read_recording() -> Recording:
    """Return the recording in the package."""
    return Recording.model_validate_json(RECORDING.read_text(encoding="utf-8"))


@contextlib.contextmanager
def recorded_replies() -> Iterator[None]:
    """Answer every model call inside by the recorded replies."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "replies.sqlite"
        path.write_bytes(gzip.decompress(REPLIES.read_bytes()))
        with contextlib.closing(Cassette(path, mode="replay")) as cassette, cassette.open():
            yield


def digest_of(history: tuple[MetaStep, ...]) -> str:
    """Return the digest of all that was observed, done, scored and written in a run.

    A field that is not used, such as one of a later version, does not change it.
    """
    return digest([meta_step.model_dump(mode="json", exclude_defaults=True) for meta_step in history])
