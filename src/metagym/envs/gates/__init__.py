"""Gates: a small pure-Python world whose families are laws. The ground for docs, tests and statistics."""

from metagym.envs.gates.env import GatesEnv
from metagym.envs.gates.laws import FAMILIES, GatesTaskSet, Law

__all__ = ["FAMILIES", "GatesEnv", "GatesTaskSet", "Law"]
