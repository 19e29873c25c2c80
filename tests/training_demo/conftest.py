"""Tests of the demonstration need the extra `train`, and some of them a tiny model."""

from __future__ import annotations

from tests.training.conftest import pytest_collection_modifyitems, tiny_start

__all__ = ["pytest_collection_modifyitems", "tiny_start"]
