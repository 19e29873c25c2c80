"""Runs on the disk: a folder with a manifest and append-only logs, which survives `kill -9` and is gone on with."""

from metagym.budget.call_log import CallLog
from metagym.runs.folder import LOG as LOG
from metagym.runs.folder import Key as Key
from metagym.runs.folder import RunFolder
from metagym.runs.manifest import MANIFEST as MANIFEST
from metagym.runs.manifest import Manifest, read_manifest
from metagym.runs.measurements import Learned, Measurement, Role, measure
from metagym.runs.store import MemoryStore, RecordStore

__all__ = [
    "CallLog",
    "Learned",
    "Manifest",
    "Measurement",
    "MemoryStore",
    "RecordStore",
    "Role",
    "RunFolder",
    "measure",
    "read_manifest",
]
