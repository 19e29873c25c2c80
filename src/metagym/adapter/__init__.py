"""Inner environments that are made of other things.

text_adapter  TextAdapter: of any Gymnasium environment, by a text for its observations and names for its actions
tool_env      ToolEnv: of a class whose marked methods are the tools of the agent
"""

from metagym.adapter.text_adapter import TextAdapter
from metagym.adapter.tool_env import ToolEnv, tool

__all__ = ["TextAdapter", "ToolEnv", "tool"]
