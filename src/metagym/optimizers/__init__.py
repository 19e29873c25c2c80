"""Optimizers: what drives a whole meta-episode with rollouts of its own, within a budget.

Optimizer   (env, reflector, *, budget) -> OptimizationResult
InTurn      play, reflect, play under the new prompt: every reflector by itself
BestOfN     n candidates of any reflector, the best on the last batch replayed
Gepa        the `gepa` package, with the meta-environment as its evaluator (extra `gepa`)
"""

from metagym.optimizers.best_of_n import BestOfN
from metagym.optimizers.gepa import Gepa
from metagym.optimizers.in_turn import InTurn
from metagym.optimizers.loop import OptimizationResult, optimize
from metagym.optimizers.protocol import Optimizer, account_on

__all__ = ["BestOfN", "Gepa", "InTurn", "OptimizationResult", "Optimizer", "account_on", "optimize"]
