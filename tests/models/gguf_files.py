"""Tiny GGUF files, and a fake of the engine that serves them: real files and processes, without weights."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

ABOUT = {
    "general.architecture": "llama",
    "general.name": "Tiny",
    "tokenizer.ggml.tokens": ["a", "bc", ""],
    "tokenizer.ggml.scores": [0.5, 1.5],
    "llama.context_length": 4096,
    "general.license": "mit",
    "tokenizer.ggml.add_bos_token": True,
}
ENGINE = """
import http.server, json, os, sys, threading, time
__version__ = "0"
class Any: pass
class CommonParams:
    def __init__(self):
        self.model, self.cpuparams = Any(), Any()
class Server:
    def __init__(self, params):
        assert params.cors_origins == "" and params.hostnames == ["127.0.0.1"]
        if "broken" in params.model.path:
            print("the weights are torn", flush=True)
            raise RuntimeError("Failed to init server")
        while "slow" in params.model.path and not os.path.exists(params.model.path + ".go"):
            time.sleep(0.02)
        settings = [params.n_ctx, params.n_parallel, sorted(params.model_alias)]
        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self, value):
                body = json.dumps(value).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            def do_GET(self):
                self.answer({"status": "ok"})
            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                message = {"role": "assistant", "content": json.dumps([*settings, __import__("os").getpid()])}
                usage = {"prompt_tokens": 7, "completion_tokens": 3}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                self.answer({"model": sorted(params.model_alias)[0], "choices": [choice], "usage": usage})
            def log_message(self, *args): pass
        server = http.server.ThreadingHTTPServer(("127.0.0.1", params.port), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.listening_address = "here"
"""
"""A module `xllamacpp` that answers each request with the settings of its server and its process id.

A file with `broken` in its path cannot be loaded; one with `slow` is loaded when a file `PATH.go` exists."""


def write_gguf(path: Path, values: dict[str, Any] = ABOUT, *, version: int = 3) -> Path:
    """Write the head of a GGUF file; lists are of texts or of floats."""
    data = struct.pack("<4sIQQ", b"GGUF", version, 0, len(values))
    for name, value in values.items():
        data += _text(name) + _typed(value)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _typed(value: Any) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value[0], str):
        return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(_text, value))
    return struct.pack("<IIQ", 9, 6, len(value)) + struct.pack(f"<{len(value)}f", *value)


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()
