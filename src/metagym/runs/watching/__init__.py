"""Follow runs while another process writes to their folders. Nothing here knows a terminal.

watcher.py    a run folder, or a folder of them, and its state    run_watcher.py    one run folder, and its state

The writer never waits: no lock is taken, and no line is read twice. Records in a run folder hold
no times, so that rates and ages are measured by the watcher.
"""

from metagym.runs.watching.run_watcher import CallUnderWay, FamilyCurve, RunState
from metagym.runs.watching.watcher import Watched, Watcher

__all__ = ["CallUnderWay", "FamilyCurve", "RunState", "Watched", "Watcher"]
