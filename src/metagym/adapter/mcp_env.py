"""McpEnv: a world of tools over an MCP server, which is started for each episode."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from gymnasium.error import ResetNeeded

from metagym.adapter.tool_env import ToolEnv
from metagym.errors import ConfigError, ToolError
from metagym.tools.calls import ToolCall

if TYPE_CHECKING:
    from metagym.adapter.mcp_session import McpSession, Word


class AnsweredCall(NamedTuple):
    """A call of the agent, and the server's answer."""

    call: ToolCall
    result: str
    is_error: bool


class McpEnv(ToolEnv):
    """An inner environment whose tools are those of an MCP server.

    A subclass writes `command`, which returns the command that starts the server of a task; `start`, which returns the
    first text, and may set the task up by `call_server`; and `score`, which judges the end by `calls` and by
    `call_server`. Methods with the mark `tool` are further tools. Everything else is as in `ToolEnv`.

    Each episode has a new server, over its standard input and output. It ends with the episode; if the engine cut that
    off, with the next `reset` or `close`; and with this process at the latest, even if that is killed. What the server
    refuses is a result that the agent reads. A server that is gone, or silent for `timeout_s`, fails the episode for
    infrastructure reasons.
    """

    timeout_s: float = 60.0
    """Seconds that the server may take to start, and for each call."""
    environment: Mapping[str, Word] = {}
    """Variables that the server gets beside PATH, HOME and the like; no others are passed on."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[AnsweredCall] = []
        self._session: McpSession | None = None
        self._close_session: Callable[[], object] = _nothing

    def command(self, family: str) -> Sequence[Word]:
        """Return the program and arguments that start the server of a task of the family; use `self.np_random`."""
        raise NotImplementedError(f"Expected {type(self).__name__} to override command(family), got no such method.")

    def call_server(self, name: str, /, **arguments: Any) -> str:
        """Return the result of a call that is not the agent's; a result that is an error raises ToolError."""
        result = self._running.call(name, arguments)
        if result.is_error:
            raise ToolError(result.text)
        return result.text

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Send a call to the server, or hear the agent's text; see `ToolEnv.step`."""
        result = super().step(action)
        if result[2]:
            self._end()
        return result

    def close(self) -> None:
        """End the server, if one runs."""
        self._end()

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the server: a copy needs a reset."""
        return {**self.__dict__, "_session": None, "_close_session": _nothing}

    def _open(self, family: str) -> None:
        from metagym.adapter.mcp_session import McpSession  # slow to import, and other adapters do not need it

        self._end()
        self.calls = []
        self._session = McpSession(self.command(family), environment=self.environment, timeout_s=self.timeout_s)
        # An environment that is never closed ends its server when it is collected, or at exit.
        self._close_session = weakref.finalize(self, self._session.close)

    def _end(self) -> None:
        self._close_session()
        self._session, self._close_session = None, _nothing

    @property
    def _running(self) -> McpSession:
        if self._session is None:
            raise ResetNeeded("Expected reset() before a call: no server runs.")
        return self._session

    def _tools(self, adapter: Any = None) -> dict[str, Any]:
        return super()._tools(adapter or McpEnv)

    def _schemas(self) -> tuple[dict[str, Any], ...]:
        own = super()._schemas()
        for name in (schema["function"]["name"] for schema in own):
            if name in self._running:
                raise ConfigError(
                    f"Expected the tools of {type(self).__name__} to have other names than those of its server, got "
                    f"{name!r} in both. Give the method another name."
                )
        return (*self._running.tools, *own)

    def _execute(self, name: str, arguments: dict[str, Any]) -> str:
        if name not in self._running:
            return super()._execute(name, arguments)
        result = self._running.call(name, arguments)
        self.calls.append(AnsweredCall(ToolCall(name, arguments), *result))
        return f"Error: {result.text}" if result.is_error else result.text


def _nothing() -> None:
    """Close no session."""
