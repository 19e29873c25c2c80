"""McpSession: a running MCP server, and the connection to it, for synchronous code. It knows no environments.

The server runs under a supervisor, so that it ends with this process, even if that is killed. The SDK is asynchronous:
the connection has a thread with its own event loop, since environments are stepped inside other loops.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import json
import os
import re
import shutil
import sys
import tempfile
import threading
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from metagym.errors import ConfigError, InnerEnvError, in_words
from metagym.imports import require
from metagym.models.local_server_supervisor import supervised
from metagym.types.plain_values import plain_json

T = TypeVar("T")
Word = str | os.PathLike[str] | int | float
"""A word of a command, or a variable's value."""
CLOSE_S: Final = 15.0
"""Seconds to wait for a server's end; the SDK asks, then kills."""
_LOG_LINES: Final = 10
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")
_MAX_NAME: Final = 64
_CLOSED: Final = -32000
"""The SDK's code for a connection that was closed; servers use it for their own errors, too."""


class McpResult(NamedTuple):
    """A server's answer to a call."""

    text: str
    is_error: bool


class McpSession:
    """A server that was started by a command, and is asked over its standard input and output.

    `environment` is added to the few variables that a server gets (PATH, HOME, and the like; no keys). `timeout_s`
    limits the start, and each call.

    Raises:
        ConfigError: the command is no list, or its program is not there.
        MissingExtraError: the SDK is not installed.
        InnerEnvError: the server did not start; the message shows the end of its log.
    """

    def __init__(self, command: Sequence[Word], *, environment: Mapping[str, Word], timeout_s: float) -> None:
        given: Any = command
        if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable) or not (given := [*given]):
            raise ConfigError(f"command must be a list of a program and its arguments, got {command!r}.")
        words = [_text_of(word, "command") for word in given]
        variables = {name: _text_of(value, f"environment[{name!r}]") for name, value in environment.items()}
        if shutil.which(words[0]) is None:
            raise ConfigError(f"There is no program {words[0]!r}. Install it, or write its whole path.")
        sdk = require("mcp", extra="mcp")
        self._timeout_s, self._program = timeout_s, words[0]
        # On Windows the SDK itself ties the server to this process, by a job.
        program, *arguments = words if sys.platform == "win32" else supervised(words, pass_input=True)
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        parameters = sdk.StdioServerParameters(command=program, args=arguments, env=variables)
        self._client = sdk.Client(sdk.stdio_client(parameters, errlog=self._log))
        self._error: type[Exception] = sdk.MCPError
        self._loop, self._closing = asyncio.new_event_loop(), asyncio.Event()
        self._listed: concurrent.futures.Future[list[Any]] = concurrent.futures.Future()
        self._main: asyncio.Task[None] | None = None
        self._last_words = ""
        self._thread = threading.Thread(target=self._run, name="metagym-mcp", daemon=True)
        self._thread.start()
        try:
            listed = self._listed.result(timeout_s)
        except TimeoutError:
            raise self._failure(f"did not answer within {timeout_s:g} s") from None
        except Exception as error:
            raise self._failure(f"did not start: {_first(error)}") from error
        except BaseException:
            self.close()
            raise
        self._names = {offered_name(tool.name): tool.name for tool in listed}
        if len(self._names) < len(listed):
            raise self._failure(f"has tools of equal names for a model: {', '.join(tool.name for tool in listed)}")
        self.tools: tuple[dict[str, Any], ...] = tuple(_schema(tool) for tool in listed)

    def __contains__(self, name: str) -> bool:
        """Return whether the server has a tool that is offered by this name."""
        return name in self._names

    def call(self, name: str, arguments: Mapping[str, Any]) -> McpResult:
        """Call a tool. A refusal of the server is a result; a server that is gone or silent is an InnerEnvError."""
        try:
            result = self._wait(self._client.call_tool(self._names[name], dict(arguments)))
        except TimeoutError:
            raise self._failure(f"did not answer {name!r} within {self._timeout_s:g} s") from None
        except self._error as error:
            if getattr(error, "code", None) == _CLOSED and not self._answers():
                raise self._failure(f"did not answer {name!r}: {error}") from error
            return McpResult(str(error), is_error=True)
        except Exception as error:
            raise self._failure(f"did not answer {name!r}: {_first(error)}") from error
        return McpResult(_text(result), is_error=bool(result.is_error))

    def close(self) -> None:
        """End the server. Calling it twice is fine."""
        if self._thread is not threading.current_thread():  # the garbage collector may close things in any thread
            with contextlib.suppress(RuntimeError):  # the loop closed by itself
                self._loop.call_soon_threadsafe(self._stop)
            self._thread.join(CLOSE_S)
        if not self._log.closed:
            self._log.seek(0)
            self._last_words = "".join(self._log.readlines()[-_LOG_LINES:]).strip()
            self._log.close()

    def _answers(self) -> bool:
        try:
            self._wait(self._client.list_tools(cache_mode="refresh"))
        except Exception:
            return False
        return True

    def _wait(self, answer: Coroutine[Any, Any, T]) -> T:
        try:
            future = asyncio.run_coroutine_threadsafe(answer, self._loop)
        except RuntimeError:
            answer.close()
            raise
        try:
            return future.result(self._timeout_s)
        except BaseException:
            future.cancel()
            raise

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            try:
                runner.run(self._serve())
            except BaseException as error:  # a server that could not be started, or one that ended
                if not self._listed.done():
                    self._listed.set_exception(error)

    async def _serve(self) -> None:
        self._main = asyncio.current_task()
        # One task enters and leaves: the SDK's scopes want that.
        async with self._client as client:
            found, cursor = [], None
            while True:
                page = await client.list_tools(cursor=cursor)
                found += page.tools
                if (cursor := page.next_cursor) is None:
                    break
            self._listed.set_result(found)
            await self._closing.wait()

    def _stop(self) -> None:
        self._closing.set()
        if not self._listed.done() and self._main is not None:
            self._main.cancel()

    def _failure(self, what: str) -> InnerEnvError:
        self.close()
        shown = f" The end of its log:\n{self._last_words}" if self._last_words else ""
        return InnerEnvError(f"The MCP server {self._program!r} {what}.{shown}")


def _text_of(value: Any, place: str) -> str:
    if isinstance(value, str | os.PathLike | int | float):
        return str(value)
    raise ConfigError(f"{place} takes texts, paths and numbers, got {value!r}. Leave it out, or write it as a text.")


def offered_name(name: str) -> str:
    """Return a tool's name as models take it: letters, digits, `_` and `-`, at most 64 of them.

    >>> offered_name("files/read.text")
    'files_read_text'
    """
    return _NOT_IN_NAMES.sub("_", name)[:_MAX_NAME]


def _first(error: BaseException) -> str:
    """Return the first error of a group in words: the SDK's groups say nothing themselves."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return in_words(error)


def _schema(tool: Any) -> dict[str, Any]:
    parameters = plain_json(tool.input_schema) or {"type": "object", "properties": {}}
    about = {"name": offered_name(tool.name), "description": tool.description or tool.title or ""}
    return {"type": "function", "function": {**about, "parameters": parameters}}


def _text(result: Any) -> str:
    """Return a result as a text: its texts, its other content by name, or its structured content if it has no more."""
    parts = [_part(item) for item in result.content]
    if not parts and result.structured_content is not None:
        return json.dumps(result.structured_content, ensure_ascii=False)
    return "\n".join(parts)


def _part(item: Any) -> str:
    if item.type == "text":
        return str(item.text)
    if item.type == "resource":
        return str(getattr(item.resource, "text", f"[{item.resource.uri}]"))
    if item.type == "resource_link":
        return f"[{item.uri}]"
    return f"[{item.type}, {item.mime_type}]"  # an image or a sound, which a text cannot show
