"""ALFWorld: household tasks in text, played natively; official games and generated ones."""

from metagym.envs.alfworld.env import ALFWorldTextEnv
from metagym.envs.alfworld.families import FAMILIES

__all__ = ["FAMILIES", "ALFWorldTextEnv"]
