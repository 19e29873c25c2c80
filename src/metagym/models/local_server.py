"""A model server on this machine while it is needed: llama.cpp, vLLM or `transformers serve`, on loopback."""

from __future__ import annotations

import importlib.util
import logging
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from metagym.errors import ConfigError, MissingExtraError, ModelUnavailableError
from metagym.imports import missing_extra
from metagym.models.local_server_supervisor import supervised
from metagym.models.model_files import ModelFile, find_model, is_model_file
from metagym.types import Record

logger = logging.getLogger(__name__)

ServerEngine = Literal["llama.cpp", "vllm", "transformers"]
DEFAULT_CONTEXT_TOKENS = 8192
_POLL_S, _LOG_EVERY_S, _LOG_LINES = 0.2, 10.0, 30


class LlamaCppConfig(Record):
    """How llama.cpp serves a GGUF file."""

    slots: int = Field(default=4, ge=1)
    """Calls that are answered at once; further ones wait. Each slot holds one conversation in its prefix cache."""
    context_tokens: int | None = Field(default=None, ge=1)
    """The longest conversation with its reply; by default the model's own, at most 8,192. The memory
    for `slots` times this number is reserved at the start."""
    threads: int | None = Field(default=None, ge=1)
    """Threads that compute; by default one for each core, and one less on a machine with up to four cores."""

    def context_of(self, file: ModelFile) -> int:
        """Return the context of each slot, in tokens."""
        trained = file.head.context_tokens
        if self.context_tokens is None:
            return min(trained or DEFAULT_CONTEXT_TOKENS, DEFAULT_CONTEXT_TOKENS)
        if trained is not None and self.context_tokens > trained:
            raise ConfigError(
                f"context_tokens must be at most {trained}, for which {file.name} was trained, got "
                f"{self.context_tokens}."
            )
        return self.context_tokens

    def options(self, file: ModelFile) -> list[str]:
        """Return the arguments of the engine's command line."""
        options = ["--parallel", str(self.slots), "--ctx-size", str(self.slots * self.context_of(file))]
        return options if self.threads is None else [*options, "--threads", str(self.threads)]


class ModelServer:
    """Starts a model server, waits until it answers, and ends it: a context manager.

    `model` is a GGUF file or the name of a fetched one, which llama.cpp serves, or a model of vLLM or transformers.
    The server listens on 127.0.0.1 only. It runs under a supervisor that ends it, with everything that it started,
    when this process closes it, exits, or is killed. `options` are further arguments of the engine's command line;
    code that comes with a model is trusted only if they say so. `base_url` is its address.

        with ModelServer("Qwen/Qwen3-8B") as server:
            env = gym.make("MetaGym/Gates-v0", actor={"model": server.model, "base_url": server.base_url})

    Raises:
        MissingExtraError: no engine that serves the model is installed.
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
            engine = engine or ("llama.cpp" if is_model_file(model) else find_engine())
            if engine == "llama.cpp":
                file = find_model(model)
                self.model, command = file.name, _llama_cpp_command(file)
            else:
                beside = Path(sys.executable).with_name(engine)  # this Python's own, even if it is not on the PATH
                command = [str(beside) if beside.exists() else engine, "serve", model, "--host", "127.0.0.1"]
            command = [*command, "--port", "{port}", *options]
        self._command = [part.replace("{port}", str(self.port)) for part in command]
        self._log = None if log is None else Path(log)
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._has_failed = False

    @property
    def log(self) -> Path:
        """The log file. Without its own path it is in a new folder, which is removed unless the server fails."""
        if self._log is None:
            self._folder = Path(tempfile.mkdtemp(prefix="metagym-serve-"))
            self._log = self._folder / "server.log"
        return self._log

    @property
    def pid(self) -> int | None:
        """The supervisor's process id; None if nothing runs."""
        return None if self._process is None else self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the server was started and has not ended."""
        process = self._process  # another thread may close it
        return process is not None and process.poll() is None

    def start(self) -> ModelServer:
        """Start the server and wait until it answers."""
        self.launch()
        return self.wait_until_ready()

    def launch(self) -> None:
        """Start the server and do not wait: from now on `close` ends it, also from another thread."""
        self._check_port()
        logger.info("Starting %s; its log is %s", " ".join(self._command), self.log)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                supervised(self._command),
                stdin=subprocess.PIPE,  # when it closes, the supervisor knows that this process ended
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # this process handles Ctrl-C, not the server
            )

    def wait_until_ready(self) -> ModelServer:
        """Wait until the launched server answers; raise if it does not, or if another thread closes it."""
        try:
            self._wait()
        except BaseException:
            self.close()
            raise
        return self

    def wait(self) -> int:
        """Wait until the server ends by itself, and return its exit code."""
        return 0 if self._process is None else self._process.wait()

    def check(self) -> None:
        """Raise a ModelUnavailableError that shows the log if the server has ended."""
        process = self._process
        code = None if process is None else process.poll()
        if code is not None and self._process is process:  # it was not closed meanwhile
            self._has_failed = True
            raise ModelUnavailableError(
                f"Expected a server for {self.model!r}, but it ended with exit code {code}. {self._tail()}"
            )

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
        if self._folder is not None and not self._has_failed:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._log = self._folder = None

    def __enter__(self) -> ModelServer:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.close()

    def _check_port(self) -> None:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that linger are no server
            try:
                probe.bind(("127.0.0.1", self.port))
            except OSError as error:
                raise ConfigError(
                    f"Expected the port {self.port} to be free for the server of {self.model!r}: {error.strerror}. "
                    "End the server that has it, or choose another port."
                ) from error

    def _wait(self) -> None:
        process, log = self._process, self._log
        start = logged_at = time.monotonic()
        while not self._answers():
            now = time.monotonic()
            if process is None or self._process is not process:
                raise ModelUnavailableError(was_closed(self.model))
            self.check()
            if now - start > self._timeout_s:
                self._has_failed = True
                raise ModelUnavailableError(
                    f"Expected {self.base_url} to answer within {self._timeout_s:g} s, it did not. Raise timeout_s, or "
                    f"look at its log. {self._tail()}"
                )
            if now - logged_at > _LOG_EVERY_S:
                logged_at = now
                text = "Waiting for %s to answer, for %.0f s so far; its log is %s"
                logger.warning(text, self.base_url, now - start, log)
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


def was_closed(model: str) -> str:
    """Return the message of a server that was closed before it answered."""
    return f"Expected a server for {model!r}, but it was closed while it started. Ask again to start a new one."


def _llama_cpp_command(file: ModelFile) -> list[str]:
    """Return the command that serves a GGUF file, with the default slots and context."""
    require_llama_cpp()
    file.head  # noqa: B018 - another kind of file is refused here, in one sentence
    script = str(Path(__file__).with_name("llama_cpp_engine.py"))
    # -P: modules beside the script do not hide packages of the same name.
    return [sys.executable, "-P", script, str(file.path), "--alias", file.name, *LlamaCppConfig().options(file)]


def require_llama_cpp() -> None:
    """Raise MissingExtraError if the engine for GGUF files is not installed; it is imported only in its own process."""
    if importlib.util.find_spec("xllamacpp") is None:
        raise missing_extra("xllamacpp", "local")


def find_engine() -> ServerEngine:
    """Return the engine for models that are no GGUF file; vLLM if both are installed."""
    if importlib.util.find_spec("vllm") is not None or shutil.which("vllm"):
        return "vllm"
    if importlib.util.find_spec("transformers") is not None and importlib.util.find_spec("fastapi") is not None:
        return "transformers"
    raise MissingExtraError(
        "Expected an engine that serves models, found nothing. Install one: pip install vllm, "
        "or pip install 'transformers[serving]' torch. A GGUF file needs only metagym's extra `local`."
    )
