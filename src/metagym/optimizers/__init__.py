"""Optimizers: loops that drive a whole meta-episode, within a budget.

meta_loop     optimize: play, reflect, play under the new prompt; the Optimizer protocol; InTurn, the plain loop as one
best_of_n     BestOfN: n candidates of any reflector, the best on the last batch replayed
gepa          Gepa: the `gepa` package, with the meta-environment as its evaluator (extra `gepa`)
"""

from metagym.optimizers.best_of_n import BestOfN
from metagym.optimizers.gepa import Gepa
from metagym.optimizers.meta_loop import InTurn, OptimizationResult, Optimizer, method_ledger, optimize

__all__ = ["BestOfN", "Gepa", "InTurn", "OptimizationResult", "Optimizer", "method_ledger", "optimize"]
