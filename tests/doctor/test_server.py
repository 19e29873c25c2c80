"""What keeps a model from answering: no name, no key, no server, a refused key, another model, a proxy."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from metagym.doctor import Finding, State
from metagym.doctor.server import check_proxies, check_server
from tests.models.gguf_files import write_gguf

Serve = Callable[..., str]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Answer GET /v1/models with a status and a body; a key may be asked for."""
    servers: list[http.server.HTTPServer] = []
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def start(body: str = "", *, status: int = 200, key: str | None = None) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                is_refused = key is not None and self.headers["Authorization"] != f"Bearer {key}"
                found = 401 if is_refused else status if self.path == "/v1/models" else 404
                self.send_response(found)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *args: Any) -> None:
                pass

        servers.append(http.server.HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/v1"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


MODELS = json.dumps({"data": [{"id": "tiny"}, {"id": "large"}]})


def look(environ: dict[str, str] | None = None, **asked: str) -> Finding:
    """Return the last finding: that on the model."""
    return list(check_server(environ or {}, **asked))[-1]


def test_a_model_that_is_served_is_fine(serve: Serve) -> None:
    url = serve(MODELS)
    found = look(model="tiny", base_url=url)
    assert (found.state, found.message) == (State.OK, f"tiny at {url}")
    assert look(model="tiny", base_url=url + "/").state is State.OK


def test_no_model_at_all_is_a_warning_with_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAGYM_CACHE", str(tmp_path))
    found = look()
    assert found.state is State.WARNING
    assert "export METAGYM_MODEL=NAME" in found.remedy
    assert "metagym models get" in found.remedy
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "small.gguf").write_bytes(b"GGUF")
    found = look()
    assert "metagym models get" not in found.remedy
    assert found.remedy.endswith("on this machine: --actor local")


def test_a_key_without_a_model_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    found = look()
    assert found.state is State.PROBLEM
    assert "no model is named" in found.message


def test_a_model_without_a_key_is_a_problem() -> None:
    found = look(model="gpt-4o")
    assert found.state is State.PROBLEM
    assert "Expected a key or a server, got neither" in found.message
    assert "OPENAI_API_KEY" in found.remedy


def test_no_server_is_a_problem_with_what_to_start() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    found = look({"NO_PROXY": "*"}, model="m", base_url=url)
    assert found.state is State.PROBLEM
    assert f"nothing answers at {url}: " in found.message
    assert "metagym serve MODEL" in found.remedy


def test_a_refused_key_names_the_variable(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    url = serve(MODELS, key="right")
    monkeypatch.setenv("MY_KEY", "wrong")
    found = look(model="tiny", base_url=url, api_key_env="MY_KEY")
    assert (found.state, found.remedy[:14]) == (State.PROBLEM, "export MY_KEY=")
    assert "refuses the key: HTTP 401" in found.message
    monkeypatch.setenv("MY_KEY", "right")
    assert look(model="tiny", base_url=url, api_key_env="MY_KEY").state is State.OK


def test_another_model_names_those_that_are_served(serve: Serve) -> None:
    found = look(model="big", base_url=serve(MODELS))
    assert (found.state, found.remedy[:12]) == (State.PROBLEM, "--actor tiny")
    assert "serves tiny, large, not 'big'" in found.message


def test_a_server_without_a_named_model_is_a_warning(serve: Serve) -> None:
    url = serve(MODELS)
    found = look(base_url=url)
    assert (found.state, found.remedy) == (State.WARNING, f"--actor tiny@{url}")


@pytest.mark.parametrize(
    ("body", "status", "state", "part"),
    [
        ("", 404, State.WARNING, "has no list of models"),
        ("", 500, State.PROBLEM, "answers HTTP 500"),
        ("<html>", 200, State.PROBLEM, "JSONDecodeError"),
        ('{"odd": 1}', 200, State.PROBLEM, "not a list of models"),
        ("[1]", 200, State.PROBLEM, "not a list of models"),
    ],
)
def test_a_server_of_another_kind_is_named(serve: Serve, body: str, status: int, state: State, part: str) -> None:
    found = look(model="m", base_url=serve(body, status=status))
    assert (found.state, part in found.message) == (state, True)


def test_a_missing_v1_is_named(serve: Serve) -> None:
    found = look(model="tiny", base_url=serve(MODELS).removesuffix("/v1"))
    assert "lack /v1" in found.remedy


# Proxies ----------------------------------------------------------------------------------------------

HERE = "http://localhost:8000/v1"


def test_a_proxy_variable_that_is_no_url_is_a_problem() -> None:
    for value in ("foo:bar", "127.0.0.1:3128", "http://host:port", "http://"):
        (found,) = check_proxies({"HTTP_PROXY": value}, None)
        assert (found.state, found.remedy[:16]) == (State.PROBLEM, "unset HTTP_PROXY"), value


def test_a_proxy_that_would_take_calls_to_this_machine_is_a_problem() -> None:
    (found,) = check_proxies({"https_proxy": "http://proxy:3128"}, "https://127.0.0.1:8000/v1")
    assert (found.state, found.remedy) == (State.PROBLEM, "export NO_PROXY=localhost,127.0.0.1")


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({"HTTP_PROXY": "http://proxy:3128", "NO_PROXY": "localhost,127.0.0.1"}, HERE),
        ({"HTTP_PROXY": "http://proxy:3128", "no_proxy": "*"}, HERE),
        ({"HTTP_PROXY": "http://proxy:3128"}, "http://elsewhere:8000/v1"),
        ({"HTTP_PROXY": "http://proxy:3128"}, None),
        ({"HTTP_PROXY": ""}, HERE),
        ({}, HERE),
    ],
)
def test_harmless_proxies_give_no_finding(environ: dict[str, str], url: str | None) -> None:
    assert list(check_proxies(environ, url)) == []


def test_the_model_on_this_machine_is_checked_without_its_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = look(model="local")
    assert (found.state, found.remedy) == (State.PROBLEM, "metagym models get smollm2-135m")
    monkeypatch.setattr("metagym.models.local_model.require_llama_cpp", lambda: None)
    found = look(model=f"local:{write_gguf(tmp_path / 'tiny.gguf')}")
    assert found.state is State.OK
    assert found.message.startswith("tiny on this machine, sha256 ")


def test_the_key_is_not_sent_to_another_host_to_which_a_server_redirects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("MY_KEY", "sk-secret")
    asked: list[tuple[str, str | None]] = []

    def server(target: str | None) -> http.server.HTTPServer:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append((self.path, self.headers["Authorization"]))
                self.send_response(302 if target else 200)
                if target:
                    self.send_header("Location", target)
                self.end_headers()
                self.wfile.write(b'{"data": []}')

            def log_message(self, *args: Any) -> None:
                pass

        made = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=made.serve_forever, daemon=True).start()
        return made

    other = server(None)
    first = server(f"http://127.0.0.1:{other.server_port}/there")
    url = f"http://127.0.0.1:{first.server_port}/v1?api-version=2"
    (found,) = check_server({}, base_url=url, api_key_env="MY_KEY")
    for made in (first, other):
        made.shutdown()
        made.server_close()
    assert "answers, but no model is named" in found.message
    assert asked == [("/v1/models?api-version=2", "Bearer sk-secret"), ("/there", None)]


@pytest.mark.parametrize("value", ["http://bob:hunter2@proxy:99999", "http://bob:hunter2@proxy:8080"])
def test_no_password_of_an_address_is_shown(value: str) -> None:
    environ = {"http_proxy": value, "OPENAI_BASE_URL": "http://bob:hunter2@localhost:1/v1", "OPENAI_API_KEY": "x"}
    found = [*check_proxies(environ, "http://localhost:1/v1"), *check_server(environ, model="m")]
    assert len(found) == 2
    assert "hunter2" not in str(found)
