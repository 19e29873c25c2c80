"""The language model on this machine: `local`, a GGUF file behind a llama.cpp server that this process shares."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from metagym.errors import ConfigError, ModelError, ModelUnavailableError
from metagym.imports import package_versions
from metagym.models.chat import Call
from metagym.models.client_config import ClientConfig, merge_sampling
from metagym.models.constraint import Constrainer
from metagym.models.local_server import LlamaCppConfig, ModelServer, require_llama_cpp, was_closed
from metagym.models.model_files import ModelFile, find_model
from metagym.models.openai import OpenAIChatModel
from metagym.models.server_profile import SystemRole
from metagym.types import Completion, Message

LOCAL: Final = "local"
_PREFIX: Final = f"{LOCAL}:"
_START_TIMEOUT_S = 600.0
_MAX_RETRY_S = 10.0
"""A server on loopback that does not answer for this long does not come back."""
DEFAULT_CLIENT = ClientConfig()
DEFAULT_SERVER = LlamaCppConfig()


def is_local(name: str) -> bool:
    """Return whether a model's name is `local`, `local:NAME` or `local:PATH`."""
    return name == LOCAL or name.startswith(_PREFIX)


class GGUFChatModel(OpenAIChatModel):
    """A real language model on this machine, without a network: a GGUF file, served by llama.cpp.

    `model` is `local` (the fetched model, or METAGYM_LOCAL_MODEL), `local:NAME` or `local:PATH`. The server starts at
    the first call, in its own process. All models of this process with the same file and `server` settings share
    it. It ends when the last of them is closed, and when this process ends, even if it is killed.

    A reply has at most a quarter of the context, so that a conversation fits beside it. At most as many calls are in
    flight, and as many episodes are played at once, as the server has slots, unless `client.max_concurrency` is given:
    each conversation keeps its slot, and its place in the prefix cache.
    Equal seeds give equal replies with `sampling={"cache_prompt": False}`.

    Raises:
        ConfigError: there is no model file, or several to choose from.
        MissingExtraError: the engine is not installed.
    """

    def __init__(
        self,
        model: str = LOCAL,
        *,
        server: LlamaCppConfig = DEFAULT_SERVER,
        sampling: Mapping[str, Any] | None = None,
        timeout_s: float = 600.0,
        max_retries: int = 2,
        system_role: SystemRole = "auto",
        client: ClientConfig = DEFAULT_CLIENT,
        sha256: str | None = None,
    ) -> None:
        if not is_local(model):
            raise ConfigError(f"A local model is named 'local', 'local:NAME' or 'local:PATH', got {model!r}.")
        file = find_model(model.removeprefix(LOCAL).removeprefix(":"))
        if sha256 is not None and file.sha256 != sha256:
            raise ConfigError(
                f"Expected the model file of the first process, with the SHA-256 digest {sha256}, got {file.path} with "
                f"{file.sha256}. Copy the file."
            )
        if not client.offline:
            require_llama_cpp()
        given = client.model_fields_set
        if "slots" not in server.model_fields_set and "max_concurrency" in given:
            server = server.model_copy(update={"slots": min(server.slots, client.max_concurrency)})
        defaults = {"max_concurrency": server.slots, "max_retry_s": _MAX_RETRY_S}
        client = client.model_copy(update={name: value for name, value in defaults.items() if name not in given})
        self.context_tokens, self.max_conversations = server.context_of(file), client.max_concurrency
        merged, room = merge_sampling(sampling or {}), max(1, self.context_tokens // 4)
        names = merged.keys() & {"max_tokens", "max_completion_tokens"}
        sampling = {**(sampling or {}), **{name: min(merged[name], room) for name in names}}
        super().__init__(
            file.name,
            base_url="http://127.0.0.1/v1",  # the port is known when the server has started
            sampling=sampling,
            timeout_s=timeout_s,
            max_retries=max_retries,
            system_role=system_role,
            client=client,
        )
        # llama.cpp closes the connection after a stream, although it promises to keep it.
        self._headers["Connection"] = "close"
        self._constrainer = Constrainer(self.sampling, means="grammar")
        self._local_arguments = (model, server, sampling, timeout_s, max_retries, system_role, client, file.sha256)
        self._served, self._server = ServedFile(file.path, server), cast(ModelServer | None, None)
        self._num_waiting = 0
        """Calls that wait for the start of the server."""
        self.fingerprint = {
            "model": file.name,
            "sha256": file.sha256,
            "engine": package_versions("xllamacpp"),
            "context_tokens": self.context_tokens,
            "slots": server.slots,
            "sampling": dict(self.sampling),
            **({} if system_role == "auto" else {"system_role": system_role}),
        }

    def __reduce__(self) -> tuple[Any, ...]:
        return _make_again, self._local_arguments

    async def complete(self, messages: Sequence[Message], call: Call, **held_to: Any) -> Completion:
        """Return the model's reply; see `OpenAIChatModel.complete`. The first call starts the server."""
        if self.client.offline:
            return await super().complete(messages, call, **held_to)
        server = self._server
        if server is None or not server.is_running:
            server = self._server = await self._start()
        if self._address != server.base_url:  # a server that was started again has another port
            self._address = server.base_url
            for loop in {*self._connections} - {asyncio.get_running_loop()}:
                del self._connections[loop]
            await super().aclose()
        try:
            return await super().complete(messages, call, **held_to)
        except ModelError as error:
            try:
                server.check()
            except ModelError as ended:  # its log says more
                raise ended from error
            raise

    async def _start(self) -> ModelServer:
        self._num_waiting += 1
        try:
            asked_at = SERVERS.enter(self._served, id(self))
            return await asyncio.to_thread(SERVERS.start, self._served, id(self), asked_at)
        except asyncio.CancelledError:  # its thread waits on, until the server answers or is closed
            if self._num_waiting == 1 and (self._server is None or not self._server.is_running):
                SERVERS.leave(self._served, id(self))
            raise
        finally:
            self._num_waiting -= 1

    async def aclose(self) -> None:
        """Close the connections, and end the server if no other model of this process uses it."""
        await super().aclose()
        self._server = None
        # Not in a thread: calls that wait for the server may hold all threads of the pool.
        SERVERS.leave(self._served, id(self))


def _make_again(model: str, *arguments: Any) -> GGUFChatModel:
    """Make a model with the same arguments in another process, which has its own server."""
    names = ("server", "sampling", "timeout_s", "max_retries", "system_role", "client", "sha256")
    return GGUFChatModel(model, **dict(zip(names, arguments, strict=True)))


class ServedFile(NamedTuple):
    """The file and settings of one server: models that agree in it share the server."""

    path: Path
    config: LlamaCppConfig


class SharedServers:
    """The llama.cpp servers of this process, and who uses each. One without users is ended, even while it starts."""

    def __init__(self) -> None:
        self._lock, self._turn = threading.Lock(), threading.Lock()
        self._servers: dict[ServedFile, ModelServer] = {}
        self._users: dict[ServedFile, set[int]] = {}
        self._failures: dict[ServedFile, tuple[float, Exception]] = {}

    def enter(self, served: ServedFile, user: int) -> float:
        """Say that `user` needs the server, and return the time."""
        with self._lock:
            self._users.setdefault(served, set()).add(user)
        return time.monotonic()

    def start(self, served: ServedFile, user: int, asked_at: float) -> ModelServer:
        """Return the running server; start it if it does not run, and wait until it answers.

        It is not started if `user` has left, or if a start failed after `asked_at`.
        """
        with self._turn:  # one start at a time; `leave` and `close` do not wait for it
            with self._lock:
                server = self._servers.get(served)
                if server is not None and server.is_running:
                    return server
                failed_at, error = self._failures.get(served, (float("-inf"), None))
                if error is not None and failed_at >= asked_at:  # it would fail again
                    raise error
                if user not in self._users.get(served, ()):
                    raise ModelUnavailableError(was_closed(served.path.name))
                if server is not None:
                    server.close()
                options = served.config.options(ModelFile(served.path))
                server = ModelServer(str(served.path), engine="llama.cpp", options=options, timeout_s=_START_TIMEOUT_S)
                server.launch()
                self._servers[served] = server
            try:
                return server.wait_until_ready()
            except Exception as error:
                with self._lock:
                    if self._servers.get(served) is server:  # it failed, and was not closed
                        self._failures[served] = time.monotonic(), error
                raise

    def leave(self, served: ServedFile, user: int) -> None:
        """Say that `user` needs the server no longer."""
        with self._lock:
            users = self._users.get(served, set())
            users.discard(user)
            if not users and (server := self._servers.pop(served, None)) is not None:
                server.close()

    def close(self) -> None:
        """End all servers. Calling it twice is fine."""
        with self._lock:
            servers, self._servers, self._users = self._servers, {}, {}
            for server in servers.values():
                server.close()

    def forget(self) -> None:
        """Reset in a forked child: the servers are its parent's."""
        self.__init__()  # type: ignore[misc]


# A server belongs to the process, as the loop in `metagym.background` does: it ends at exit at the latest.
SERVERS = SharedServers()
atexit.register(SERVERS.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=SERVERS.forget)
