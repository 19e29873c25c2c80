"""Model files (GGUF) on this machine: the folder of fetched ones, their properties, and which one `local` means."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from metagym.errors import ConfigError
from metagym.models.gguf import GGUFHead, read_gguf

FIRST_MODEL: Final = "smollm2-135m"
"""The model that messages offer: it comes from the package index, and is small."""
SUFFIX: Final = ".gguf"


def models_folder() -> Path:
    """Return the folder of fetched models: `models` in METAGYM_CACHE, by default in the user's cache folder."""
    if own := os.environ.get("METAGYM_CACHE"):
        return Path(own).expanduser() / "models"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "metagym" / "models"


class ModelFile:
    """A GGUF file: `name` is its file name without the suffix. Its head and its digest are read when they are needed.

    Raises:
        ConfigError: there is no such file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser().absolute()
        self.name = self.path.name.removesuffix(SUFFIX)
        if not self.path.is_file():
            raise ConfigError(f"Expected a GGUF file at {self.path}, got no file. {_how_to_get()}")

    @property
    def num_bytes(self) -> int:
        """Its size in bytes."""
        return self.path.stat().st_size

    @functools.cached_property
    def head(self) -> GGUFHead:
        """The facts that the file states about its model."""
        return read_gguf(self.path)

    @property
    def sha256(self) -> str:
        """The digest of its content; a file that did not change is read once."""
        status = self.path.stat()
        return _sha256(self.path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=16)
def _sha256(path: Path, size: int, changed_at_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def list_models() -> list[ModelFile]:
    """Return the fetched models, by name."""
    return [ModelFile(path) for path in sorted(models_folder().glob(f"*{SUFFIX}"))]


def find_model(name: str = "") -> ModelFile:
    """Return the model file of that name, or at that path.

    Without a name it is the one in METAGYM_LOCAL_MODEL (a name or a path), else the one fetched model.

    Raises:
        ConfigError: there is no such file, or there are several to choose from.
    """
    name = name or os.environ.get("METAGYM_LOCAL_MODEL", "")
    if name.endswith(SUFFIX) or os.sep in name:
        return ModelFile(name)
    fetched = list_models()
    found = [file for file in fetched if name in ("", file.name)]
    if not found:
        wanted = f"a local model {name!r}, got {_listed(fetched)}" if name else "a local model, got nothing"
        raise ConfigError(f"Expected {wanted}. {_how_to_get(name if name == FIRST_MODEL else '')}")
    if len(found) > 1:
        raise ConfigError(
            f"Expected one local model, got {_listed(found)}. Name one: local:{found[0].name}, or "
            f"METAGYM_LOCAL_MODEL={found[0].name}."
        )
    return found[0]


def is_model_file(name: str) -> bool:
    """Return whether a name is that of a GGUF file: by its suffix, or because such a model was fetched."""
    return name.endswith(SUFFIX) or (os.sep not in name and (models_folder() / f"{name}{SUFFIX}").is_file())


def _listed(files: Iterable[ModelFile]) -> str:
    return ", ".join(file.name for file in files) or "no file"


def _how_to_get(name: str = "") -> str:
    return f"Get one: metagym models get {name or FIRST_MODEL}, or name your own GGUF file: local:PATH."
