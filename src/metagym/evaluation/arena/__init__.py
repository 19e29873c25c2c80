"""The arena: methods side by side on the same tasks and seeds, under equal learning budgets, with null controls.

entrants.py   methods by name     run.py   plays every arm     standings.py   the table and the curves, as data
"""

from metagym.evaluation.arena.entrants import Entrant, make_entrants
from metagym.evaluation.arena.run import Bout, run_arena
from metagym.evaluation.arena.standings import Standing, Standings

__all__ = ["Bout", "Entrant", "Standing", "Standings", "make_entrants", "run_arena"]
