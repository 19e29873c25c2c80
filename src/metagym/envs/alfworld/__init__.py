"""ALFWorld: household tasks in text, played in plain Python; official games and generated ones.

env.py, meta.py, demo.py, tasks.py, families.py   as in every environment folder
expert.py             a player that reads texts only; with all skills it is the expert
catalogue.py          finds games by task id, official or generated
official_games.py     lists and reads the official games on the disk
generated/            makes games from a family and a seed, and writes them to the disk
game.py               one game, read and ready to play; the native engine
pddl.py, grammar.py   read a game's file
rules.py              the state of the household: possible actions, and their effects
observations.py       the texts that the player reads
textworld_engine.py   the reference engine, TextWorld, in its own process
"""

from metagym.envs.alfworld.env import ALFWorldTextEnv
from metagym.envs.alfworld.families import FAMILIES

__all__ = ["FAMILIES", "ALFWorldTextEnv"]
