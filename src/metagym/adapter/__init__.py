"""Inner environments that are made of other things.

text_adapter  TextAdapter: of any Gymnasium environment, by a text for its observations and names for its actions
tool_env      ToolEnv: of a class whose marked methods are the tools of the agent
mcp_env       McpEnv: of an MCP server that is started for each episode; mcp_session: the server and the connection
"""

from metagym.adapter.mcp_env import AnsweredCall, McpEnv
from metagym.adapter.text_adapter import TextAdapter
from metagym.adapter.tool_env import ToolEnv, tool

__all__ = ["AnsweredCall", "McpEnv", "TextAdapter", "ToolEnv", "tool"]
