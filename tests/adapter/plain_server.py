"""An MCP server without the SDK: it pages its tools, refuses by error codes, hangs, and dies. Not a test."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

NAMES = ("pid", "files/read.text", "picture", "fields", "refuse", "hang", "die")
NAMES = NAMES[1:5] if "TAME" in os.environ else NAMES  # those whose results are the same in each process


def tools(cursor: str | None) -> dict[str, Any]:
    """Return one tool a page."""
    number = int(cursor or 0)
    schema = {"type": "object", "properties": {"path": {"type": "string"}}}
    page: dict[str, Any] = {"tools": [{"name": NAMES[number], "description": "Try.", "inputSchema": schema}]}
    return page | ({"nextCursor": str(number + 1)} if number + 1 < len(NAMES) else {})


def answer(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a call."""
    if name == "hang":
        time.sleep(600)
    if name == "die":
        print("no ink left", file=sys.stderr)
        sys.exit(3)
    if name == "picture":
        image = {"type": "image", "data": "aGk=", "mimeType": "image/png"}
        return {"content": [{"type": "text", "text": "Look:"}, image]}
    if name == "fields":
        return {"content": [], "structuredContent": {"level": 3}}
    text = str(os.getpid()) if name == "pid" else f"{name} of {arguments.get('path')}"
    return {"content": [{"type": "text", "text": text}]}


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        parameters, reply = request.get("params") or {}, dict[str, Any]()
        if request["method"] == "initialize":
            about = {"name": "plain", "version": "1"}
            reply["result"] = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": about}
        elif request["method"] == "tools/list":
            reply["result"] = tools(parameters.get("cursor"))
        elif request["method"] == "tools/call" and parameters["name"] != "refuse":
            reply["result"] = answer(parameters["name"], parameters.get("arguments") or {})
        else:
            code = -32000 if parameters.get("arguments") == {"path": "busy"} else -32602
            reply["error"] = {"code": code, "message": "no such thing"}
        if "id" in request:
            print(json.dumps({"jsonrpc": "2.0", "id": request["id"], **reply}), flush=True)
    if "STAY" in os.environ:  # some servers stay when their input ends
        time.sleep(600)


if __name__ == "__main__":
    main()
