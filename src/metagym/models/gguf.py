"""The head of a GGUF file: the facts about its model. The weights are not read.

Source: the GGUF specification of the ggml project, versions 2 and 3 (little-endian).
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import IO, Any, Final

from metagym.errors import ConfigError
from metagym.types import Record, Text

_MAGIC: Final = b"GGUF"
_SCALARS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MAX_TEXT = 64 << 20
"""No text of a sound file is longer, in bytes."""


class GGUFHead(Record):
    """The facts that a GGUF file states about its model. Texts are empty and numbers None if it does not say."""

    architecture: Text = ""
    name: Text = ""
    licence: Text = ""
    context_tokens: int | None = None
    """The longest context that the model was trained for."""


def read_gguf(path: str | Path) -> GGUFHead:
    """Read the head of a GGUF file; raise ConfigError if it is no such file, or is cut off."""
    try:
        with open(path, "rb") as file:
            values = _read_values(file)
    except (OSError, struct.error, ValueError, KeyError) as error:
        raise ConfigError(f"Expected a GGUF file at {path}, got {_reason(error)}. Is the download complete?") from error
    architecture = str(values.get("general.architecture", ""))
    context = values.get(f"{architecture}.context_length")
    return GGUFHead(
        architecture=architecture,
        name=str(values.get("general.name", "")),
        licence=str(values.get("general.license", "")),
        context_tokens=context if isinstance(context, int) else None,
    )


def _read_values(file: IO[bytes]) -> dict[str, Any]:
    """Return the file's single values by name; its lists (the words of the tokenizer) are left out."""
    if file.read(4) != _MAGIC:
        raise ValueError("a file that does not begin with 'GGUF'")
    version, _, num_values = _unpack(file, "IQQ")
    if version not in (2, 3):
        raise ValueError(f"version {version} of the format, of which 2 and 3 are read")
    values = {}
    for _ in range(num_values):
        name = _read_text(file)
        (kind,) = _unpack(file, "I")
        if kind == _ARRAY:
            _skip_array(file)
        else:
            values[name] = _read_text(file) if kind == _STRING else _unpack(file, _SCALARS[kind])[0]
    return values


def _skip_array(file: IO[bytes]) -> None:
    kind, length = _unpack(file, "IQ")
    if kind in _SCALARS:
        file.seek(length * struct.calcsize(_SCALARS[kind]), 1)
        return
    if kind not in (_STRING, _ARRAY):
        raise ValueError(f"a list of the unknown type {kind}")
    for _ in range(length):
        if kind == _ARRAY:
            _skip_array(file)
        else:
            file.seek(_text_length(file), 1)


def _read_text(file: IO[bytes]) -> str:
    length = _text_length(file)
    data = file.read(length)
    if len(data) < length:
        raise ValueError("a file that is cut off")
    return data.decode("utf-8", "replace")


def _text_length(file: IO[bytes]) -> int:
    (length,) = _unpack(file, "Q")
    if length > _MAX_TEXT:
        raise ValueError(f"a text of {length} bytes in its head")
    return int(length)


def _unpack(file: IO[bytes], form: str) -> tuple[Any, ...]:
    data = file.read(struct.calcsize(f"<{form}"))
    return struct.unpack(f"<{form}", data)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, KeyError):
        return f"a value of the unknown type {error}"
    return "a file that is cut off" if isinstance(error, struct.error) else str(error)
