"""The arena: methods side by side on the same tasks and seeds, under equal learning budgets, with null controls.

run.py   methods by name, and the run of every arm     standings.py   the table and the curves, as data
"""

from metagym.evaluation.arena.run import Bout, Entrant, make_entrants, run_arena
from metagym.evaluation.arena.standings import Standing, Standings

__all__ = ["Bout", "Entrant", "Standing", "Standings", "make_entrants", "run_arena"]
