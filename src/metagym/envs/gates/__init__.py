"""Gates: a small environment in pure Python, for docs, tests and statistics. Each family is a hidden law."""

from metagym.envs.gates.env import GatesEnv
from metagym.envs.gates.laws import FAMILIES, GatesTaskSet, Law

__all__ = ["FAMILIES", "GatesEnv", "GatesTaskSet", "Law"]
