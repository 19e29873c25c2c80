"""Meta-environments over corridors, closed after the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.env.playing import EAST, CorridorMetaEnv


@pytest.fixture
def corridors() -> Iterator[Callable[..., CorridorMetaEnv]]:
    made: list[CorridorMetaEnv] = []

    def make(actor: Any = EAST, **options: Any) -> CorridorMetaEnv:
        made.append(CorridorMetaEnv(actor, **options))
        return made[-1]

    yield make
    for env in made:
        env.close()
