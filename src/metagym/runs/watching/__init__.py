"""What a run is doing, seen from outside: its folder is read as it grows. Nothing here knows a terminal.

tail.py      the whole lines that were added to a file, and whether its writer lives
records.py   what is seen: data only
run.py       one run folder       folder.py   a folder of them: a campaign's arms

The writer is never held up: no lock is taken, and what was read once is not read again. Nothing in a run
folder tells the time, so that rates and ages are the watcher's own.
"""

from metagym.runs.watching.states import CallUnderWay, FamilyCurve, RunState, Watched
from metagym.runs.watching.watcher import Watcher

__all__ = ["CallUnderWay", "FamilyCurve", "RunState", "Watched", "Watcher"]
