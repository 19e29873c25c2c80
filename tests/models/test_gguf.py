"""The head of a GGUF file is read, whatever lists are between its values."""

from __future__ import annotations

from pathlib import Path

import pytest

from metagym.errors import ConfigError
from metagym.models.gguf import GGUFHead, read_gguf
from tests.models.gguf_files import ABOUT, write_gguf


def test_the_head_says_what_the_model_is(tmp_path: Path) -> None:
    read = read_gguf(write_gguf(tmp_path / "tiny.gguf"))
    assert read == GGUFHead(architecture="llama", name="Tiny", licence="mit", context_tokens=4096)


def test_what_a_file_does_not_say_is_empty(tmp_path: Path) -> None:
    assert read_gguf(write_gguf(tmp_path / "bare.gguf", {})) == GGUFHead()


@pytest.mark.parametrize("size", range(4, 200, 7))
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, size: int) -> None:
    whole = write_gguf(tmp_path / "tiny.gguf").read_bytes()
    assert size < len(whole)
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(whole[:size])
    with pytest.raises(ConfigError, match=r"got a file that is cut off. Is the download complete\?"):
        read_gguf(cut)


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "page.gguf"
    other.write_text("<html>Not found</html>")
    with pytest.raises(ConfigError, match="got a file that does not begin with 'GGUF'"):
        read_gguf(other)
    with pytest.raises(ConfigError, match="got version 9 of the format"):
        read_gguf(write_gguf(other, ABOUT, version=9))
    with pytest.raises(ConfigError, match="got No such file"):
        read_gguf(tmp_path / "nowhere.gguf")
