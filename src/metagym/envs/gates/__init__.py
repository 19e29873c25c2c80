"""Gates: a small environment in pure Python, for docs, tests and statistics. Each family is a hidden law."""

from metagym.envs.gates.env import FAMILIES, GatesEnv, GatesTaskSet, Law

__all__ = ["FAMILIES", "GatesEnv", "GatesTaskSet", "Law"]
