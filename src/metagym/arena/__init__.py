"""The arena: methods side by side, on the same tasks and seeds, under equal learning budgets, beside null controls."""

from metagym.arena.entrants import Entrant, make_entrants
from metagym.arena.run import Bout, run_arena
from metagym.arena.standings import Standing, Standings

__all__ = ["Bout", "Entrant", "Standing", "Standings", "make_entrants", "run_arena"]
