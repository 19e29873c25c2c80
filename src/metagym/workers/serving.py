"""The code of a worker process, and the messages between it and its parent (length, then a pickle)."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import pickle
import signal
import socket
import struct
import sys
import threading
from multiprocessing.connection import wait
from typing import Any, NamedTuple

from metagym.errors import InnerEnvError, MissingExtraError, UserTrace, in_words, keep_trace, user_trace
from metagym.workers.local import HostedEnv

_LENGTH = struct.Struct("!Q")
_IMPORT_ERRORS = {kind.__name__: kind for kind in (ImportError, ModuleNotFoundError, MissingExtraError)}
_DIE_WITH_PARENT = 1  # Linux: prctl(PR_SET_PDEATHSIG, SIGKILL)


class SentError(NamedTuple):
    """An exception as it travels: in words, because the parent may not have its class, or not be able to read it."""

    name: str
    text: str
    is_import_error: bool
    is_of_env: bool
    trace: UserTrace

    @classmethod
    def of(cls, error: BaseException) -> SentError:
        """Return the failure behind `error`."""
        text = in_words(error).partition(": ")[2]
        is_import_error, is_of_env = isinstance(error, ImportError), isinstance(error, InnerEnvError)
        return cls(type(error).__name__, text, is_import_error, is_of_env, user_trace(error))

    def error(self) -> Exception:
        """Return the exception to raise in the parent."""
        error: Exception
        if self.is_of_env:
            error = InnerEnvError(self.text)
        elif self.is_import_error:
            kind = _IMPORT_ERRORS.get(self.name) or type(self.name, (ImportError,), {})
            error = kind(self.text)
        else:
            remedy = "Define it in a module that can be imported, not in a notebook or a main script's function."
            if self.name == "MemoryError":
                remedy = "Raise memory_mib, the limit of the process's address space, or leave it out."
            failure = f"{self.name}: {self.text}".removesuffix(": ")
            error = InnerEnvError(f"A worker process could not load the environment: {failure}. {remedy}")
        keep_trace(error, self.trace)
        return error


def send(writer: asyncio.StreamWriter, value: Any) -> None:
    """Send a value from the parent's end."""
    body = pickle.dumps(value)
    writer.write(_LENGTH.pack(len(body)) + body)


async def receive(reader: asyncio.StreamReader) -> Any:
    """Receive a value at the parent's end."""
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    return pickle.loads(await reader.readexactly(length))


def serve_environments(connection: socket.socket, output: str, factory: bytes, memory_mib: int | None) -> None:
    """Make, reset and step environments, one request at a time, until the parent closes the socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the parent
    _die_with_parent()
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # so that its own children end with it
    # What environments print, in Python or in C, goes to a file instead of the user's terminal.
    file = os.open(output, os.O_WRONLY | os.O_APPEND)
    for number in (1, 2):
        os.dup2(file, number)
    # They are None in a process that was started without any.
    sys.stdout = open(1, "w", encoding="utf-8", errors="replace", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="replace", buffering=1, closefd=False)  # noqa: SIM115
    if memory_mib is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory_mib * 2**20, memory_mib * 2**20))
    envs: dict[int, HostedEnv] = {}
    process = os.getpid()
    with connection, connection.makefile("rwb") as stream:
        while (request := _read(stream)) is not None:
            slot, method, argument = request
            try:
                answer: tuple[SentError | None, Any] = (None, None)
                if method == "hello":
                    make_env = pickle.loads(factory)
                else:
                    env = envs.get(slot) or envs.setdefault(slot, HostedEnv(make_env, envs.values()))
                    answer = (None, tuple(getattr(env, method)(argument)))
            except BaseException as error:  # also a module that calls `sys.exit`
                if slot in envs and os.getpid() == process:
                    envs.pop(slot).close()
                answer = (SentError.of(error), None)
            if os.getpid() != process:
                os._exit(0)  # a fork of the environment that came back: its parent gives the answer
            _write(stream, answer)


def _read(stream: Any) -> Any:
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    return pickle.loads(stream.read(_LENGTH.unpack(head)[0]))


def _write(stream: Any, answer: tuple[SentError | None, Any]) -> None:
    body = pickle.dumps(answer)
    stream.write(_LENGTH.pack(len(body)) + body)
    stream.flush()


def _die_with_parent() -> None:
    """Make sure that no worker outlives its parent, even if the parent is killed with -9."""
    if sys.platform == "linux":
        import ctypes

        # This works even while an environment's C code holds the interpreter and no Python thread can run.
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()
