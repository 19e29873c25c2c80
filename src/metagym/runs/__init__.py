"""Runs on disk: a folder with a manifest and append-only logs that survives `kill -9` and can be resumed.

folder.py        the run folder: write, read, resume      journal.py   an append-only file with one writer
store.py         records by kind and key                  manifest.py  the options of a run
measurements.py  prompts and their scores                 running.py   run an experiment into a folder
verification.py  play it again and compare                cost_estimate.py  the cost of a run
lines.py         the fields of a line of the log     repair.py    set aside unreadable parts
notes.py         notes of people on episodes         earlier_use.py  calls and episodes that a budget counts, too
summary.py       who played, when, how long, how much  times.py  when each process wrote
watching/        follow a run as its folder grows
"""

from metagym.runs.folder import LOG as LOG
from metagym.runs.folder import REPORT as REPORT
from metagym.runs.folder import TUNED as TUNED
from metagym.runs.folder import Key as Key
from metagym.runs.folder import RunFolder
from metagym.runs.manifest import MANIFEST as MANIFEST
from metagym.runs.manifest import Manifest, evaluation_size, read_manifest
from metagym.runs.measurements import AddedSeeds, Copies, Learned, Measurement, Role, measure
from metagym.runs.store import MemoryStore, RecordStore, read_record

__all__ = [
    "AddedSeeds",
    "Copies",
    "Learned",
    "Manifest",
    "Measurement",
    "MemoryStore",
    "RecordStore",
    "Role",
    "RunFolder",
    "evaluation_size",
    "measure",
    "read_manifest",
    "read_record",
]
