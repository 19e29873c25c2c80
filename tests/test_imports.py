"""Imports by name."""

from __future__ import annotations

from metagym.imports import import_object
from metagym.testing import FakeChatModel


def test_import_object_returns_what_is_there() -> None:
    assert import_object("metagym.testing:FakeChatModel") is FakeChatModel
