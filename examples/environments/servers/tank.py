"""An MCP server: a tank with a pump that brings a part of what it is asked for. It knows nothing of metagym."""

import sys

from mcp.server import MCPServer

server, share, level = MCPServer("tank"), int(sys.argv[1]), 0


@server.tool()
def pump(litres: int) -> str:
    """Pump water into the tank."""
    global level
    level += litres // share
    return "Pumped."


@server.tool()
def read_level() -> int:
    """Return what the tank holds, in litres."""
    return level


if __name__ == "__main__":
    server.run()
