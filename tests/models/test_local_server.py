"""A launched server answers, says why it does not, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from metagym.errors import ConfigError, MissingExtraError, ModelUnavailableError
from metagym.models import Call, ModelServer, OpenAIChatModel, llama_cpp_engine, local_server
from tests.conftest import SRC, Serve
from tests.models.gguf_files import write_gguf

SERVER = """
import http.server, subprocess, sys
marker = sys.argv[2]
# One child that leaves the process group, and one that takes no SIGTERM.
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)", marker], start_new_session=True)
stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(1000)"
subprocess.Popen([sys.executable, "-c", stubborn, marker])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/v1/models" else 404)
        self.end_headers()
    def log_message(self, *args): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
PARENT = """
import sys, time
from metagym.models import ModelServer
server = ModelServer("m", command=[sys.executable, "-c", sys.argv[1], "{port}", sys.argv[2]]).start()
print(server.pid, flush=True)
time.sleep(1000)
"""
linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")


def processes(marker: str) -> list[int]:
    """Return the processes whose command line holds the marker."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if marker.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def command(marker: str) -> list[str]:
    return [sys.executable, "-c", SERVER, "{port}", marker]


@linux
@pytest.mark.slow
def test_nothing_is_left_five_seconds_after_the_parent_was_killed(tmp_path: Path) -> None:
    marker = f"metagym-{tmp_path}"
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, SERVER, marker],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(SRC.parent)},
    )
    assert parent.stdout is not None
    with parent.stdout:
        assert parent.stdout.readline()
    assert len(processes(marker)) >= 5  # parent, supervisor, server, and its two children
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 5
    while processes(marker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes(marker) == []


@linux
@pytest.mark.slow
def test_closing_ends_the_server_and_what_it_started(tmp_path: Path) -> None:
    marker = f"metagym-{tmp_path}"
    with ModelServer("m", command=command(marker), log=tmp_path / "log") as server:
        assert len(processes(marker)) >= 4
    assert processes(marker) == []
    server.close()


def test_a_server_that_ends_shows_its_log(tmp_path: Path) -> None:
    code = "print('no such model'); raise SystemExit(3)"
    server = ModelServer("m", command=[sys.executable, "-c", code], log=tmp_path / "log")
    with pytest.raises(ModelUnavailableError, match=r"exit code 3(?s:.*)no such model"):
        server.start()


def test_a_port_that_another_server_has_is_refused(serve: Serve, tmp_path: Path) -> None:
    port = int(serve("Another server.").base_url.split(":")[2].split("/")[0])
    server = ModelServer("m", command=[sys.executable, "-c", "pass"], port=port, log=tmp_path / "log")
    with pytest.raises(ConfigError, match=rf"Expected the port {port} to be free .*choose another port"):
        server.start()


def test_a_server_that_never_answers_is_ended_with_an_error(tmp_path: Path) -> None:
    code = "import time; print('loading', flush=True); time.sleep(1000)"
    server = ModelServer("m", command=[sys.executable, "-c", code], timeout_s=0.5, log=tmp_path / "log")
    with pytest.raises(ModelUnavailableError, match=r"within 0.5 s, it did not. Raise timeout_s"):
        server.start()
    assert server.pid is None


def test_code_that_comes_with_a_model_is_not_trusted_unless_asked() -> None:
    for engine in ("vllm", "transformers"):
        server = ModelServer("m", engine=engine, port=1)
        assert not any("trust" in part for part in server._command)
        assert "127.0.0.1" in server._command
    trusting = ModelServer("m", engine="vllm", port=1, options=["--trust-remote-code"])
    assert trusting._command[-1] == "--trust-remote-code"


def test_without_an_engine_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_server.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(local_server.shutil, "which", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install vllm, or pip install 'transformers\[serving\]' torch"):
        ModelServer("m")


def test_a_gguf_file_is_served_by_llama_cpp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_server, "require_llama_cpp", lambda: None)
    path = write_gguf(tmp_path / "tiny.gguf")
    server = ModelServer(str(path), port=1, options=["--parallel", "2"])
    assert server.model == "tiny"
    assert server._command[1:3] == ["-P", str(SRC / "models" / "llama_cpp_engine.py")]
    defaults = ["--parallel", "4", "--ctx-size", str(4 * 4096)]
    assert server._command[3:] == [str(path), "--alias", "tiny", *defaults, "--port", "1", "--parallel", "2"]
    path.write_text("<html>")
    with pytest.raises(ConfigError, match=r"Expected a GGUF file at .*does not begin with 'GGUF'"):
        ModelServer(str(path))


def test_a_machine_with_few_cores_keeps_one_for_other_work(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, threads in ((1, 1), (2, 1), (4, 3), (5, None)):
        monkeypatch.setattr(llama_cpp_engine.os, "sched_getaffinity", lambda pid, n=cores: range(n), raising=False)
        assert llama_cpp_engine.default_threads() == threads


@pytest.mark.slow
def test_a_log_is_removed_unless_the_server_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_server.tempfile, "tempdir", str(tmp_path))
    failing = ModelServer("m", command=[sys.executable, "-c", "raise SystemExit(3)"])
    assert not list(tmp_path.iterdir())
    with pytest.raises(ModelUnavailableError):
        failing.start()
    assert len(list(tmp_path.glob("*/server.log"))) == 1
    kept = {*tmp_path.iterdir()}
    with ModelServer("m", command=command("here")) as server:
        assert server.log.exists()
    assert {*tmp_path.iterdir()} == kept


def test_a_time_limit_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="timeout_s must be positive, got 0"):
        ModelServer("m", command=["true"], timeout_s=0)


def make_tiny_model(folder: Path) -> None:
    """Write a Qwen2 of a few thousand weights: its config, a byte tokenizer, weights from a seed."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    words = ["<|im_start|>", "<|im_end|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({word: index for index, word in enumerate(words)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|im_end|>")
    fast.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    fast.chat_template = (
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    config = Qwen2Config(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        eos_token_id=1,
        bos_token_id=0,
    )
    fast.save_pretrained(folder)
    Qwen2ForCausalLM(config).save_pretrained(folder)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("torch", "transformers", "fastapi")),
    reason="needs torch and transformers[serving]",
)
def test_transformers_serves_a_model_made_by_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # two threads on a busy machine are ten times slower
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    make_tiny_model(tmp_path / "tiny")
    with ModelServer(str(tmp_path / "tiny"), engine="transformers", timeout_s=180, log=tmp_path / "log") as server:
        model = OpenAIChatModel(server.model, base_url=server.base_url, sampling={"max_tokens": 8}, timeout_s=60)

        async def ask() -> list[object]:
            messages = [{"role": "user", "content": "Hello."}]
            try:
                return [await model.complete(messages, Call("actor", seed=seed)) for seed in (1, 1)]  # type: ignore[arg-type]
            finally:
                await model.aclose()

        first, second = asyncio.run(ask())
    assert first == second
    assert first.usage.num_calls == 1  # type: ignore[attr-defined]
    assert first.usage.completion_tokens <= 8  # type: ignore[attr-defined]
    assert first.usage.prompt_tokens > 8  # type: ignore[attr-defined]
    assert model.ledger.spent().usage.num_calls == 2
