"""Worlds of tools: the multi-turn part of the Berkeley Function Calling Leaderboard (BFCL), from its own package.

A user asks for one thing after another; the agent calls functions of one or two of eight APIs. Nothing of the benchmark
is in metagym: tasks, functions and checks are read out of the installed package `bfcl_eval`.
Source: Patil et al., "The Berkeley Function Calling Leaderboard (BFCL)", ICML 2025; Apache-2.0.
"""

from metagym.envs.tools.benchmark import ToolsTask, load_tasks
from metagym.envs.tools.env import ToolsEnv

__all__ = ["ToolsEnv", "ToolsTask", "load_tasks"]
