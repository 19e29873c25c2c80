"""A model server on this machine while it is needed: vLLM or `transformers serve`, on loopback."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from metagym.errors import ConfigError, MissingExtraError, ModelUnavailableError

logger = logging.getLogger(__name__)

ServerEngine = Literal["vllm", "transformers"]
_POLL_S, _LOG_EVERY_S, _LOG_LINES = 0.2, 10.0, 30


class ModelServer:
    """Starts a model server, waits until it answers, and ends it: a context manager.

    The server listens on 127.0.0.1 only. It runs under a supervisor that ends it, with everything that it started,
    when this process closes it, exits, or is killed. `options` are further arguments of the engine's command line;
    code that comes with a model is trusted only if they say so. `base_url` is its address, `log` its log file.

        with ModelServer("Qwen/Qwen3-8B") as server:
            env = gym.make("MetaGym/Gates-v0", actor={"model": server.model, "base_url": server.base_url})

    Raises:
        MissingExtraError: neither vLLM nor transformers is installed.
        ModelUnavailableError: the server ended, or did not answer within `timeout_s` seconds; it shows the log.
    """

    def __init__(
        self,
        model: str,
        *,
        engine: ServerEngine | None = None,
        port: int | None = None,
        options: Sequence[str] = (),
        timeout_s: float = 600.0,
        command: Sequence[str] | None = None,
        log: str | Path | None = None,
    ) -> None:
        if timeout_s <= 0:
            raise ConfigError(f"timeout_s must be positive, got {timeout_s}.")
        self.model, self._timeout_s = model, timeout_s
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = port or int(probe.getsockname()[1])
        self.base_url = f"http://127.0.0.1:{self.port}/v1"
        if command is None:
            name = engine or find_engine()
            beside = Path(sys.executable).with_name(name)  # this Python's own command, even if it is not on the PATH
            script = str(beside) if beside.exists() else name
            command = [script, "serve", model, "--host", "127.0.0.1", "--port", "{port}", *options]
        self._command = [part.replace("{port}", str(self.port)) for part in command]
        self.log = Path(log) if log is not None else Path(tempfile.mkdtemp(prefix="metagym-serve-")) / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The supervisor's process id; None if nothing runs."""
        return None if self._process is None else self._process.pid

    def start(self) -> ModelServer:
        """Start the server and wait until it answers."""
        logger.info("Starting %s; its log is %s", " ".join(self._command), self.log)
        supervisor = Path(__file__).with_name("local_server_supervisor.py")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(supervisor), str(os.getpid()), *self._command],
                stdin=subprocess.PIPE,  # when it closes, the supervisor knows that this process ended
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # this process handles Ctrl-C, not the server
            )
        try:
            self._wait()
        except BaseException:
            self.close()
            raise
        return self

    def wait(self) -> int:
        """Wait until the server ends by itself, and return its exit code."""
        return 0 if self._process is None else self._process.wait()

    def close(self) -> None:
        """End the server and everything that it started. Calling it twice is fine."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> ModelServer:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.close()

    def _wait(self) -> None:
        assert self._process is not None
        start = logged_at = time.monotonic()
        while not self._answers():
            now = time.monotonic()
            if (code := self._process.poll()) is not None:
                raise ModelUnavailableError(
                    f"Expected a server for {self.model!r}, but it ended with exit code {code}. {self._tail()}"
                )
            if now - start > self._timeout_s:
                raise ModelUnavailableError(
                    f"Expected {self.base_url} to answer within {self._timeout_s:g} s, it did not. Raise timeout_s, or "
                    f"look at its log. {self._tail()}"
                )
            if now - logged_at > _LOG_EVERY_S:
                logged_at = now
                text = "Waiting for %s to answer, for %.0f s so far; its log is %s"
                logger.warning(text, self.base_url, now - start, self.log)
            time.sleep(_POLL_S)

    def _answers(self) -> bool:
        import urllib.error  # slow to import, and nothing else in `metagym.models` needs it
        import urllib.request

        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback needs no proxy
        for url in (f"http://127.0.0.1:{self.port}/health", f"{self.base_url}/models"):
            try:
                with opener.open(url, timeout=2):
                    return True
            except urllib.error.HTTPError:
                continue  # some servers have only one of them
            except OSError:
                return False
        return False

    def _tail(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
        return f"The end of its log, {self.log}:\n" + "\n".join(lines)


def find_engine() -> ServerEngine:
    """Return the engine that is installed; vLLM if both are."""
    if importlib.util.find_spec("vllm") is not None or shutil.which("vllm"):
        return "vllm"
    if importlib.util.find_spec("transformers") is not None and importlib.util.find_spec("fastapi") is not None:
        return "transformers"
    raise MissingExtraError(
        "Expected an engine that serves models, found none. Install one: pip install vllm, "
        "or pip install 'transformers[serving]' torch."
    )
