"""Gates whose next `reset` without a seed draws the same tasks each time."""

from __future__ import annotations

from typing import Any

import pytest

from metagym.envs.gates.meta import GatesMetaEnv
from tests.conftest import MakeGates


@pytest.fixture
def make_seeded(make_gates: MakeGates) -> MakeGates:
    def make(actor: Any = "demo", **options: Any) -> GatesMetaEnv:
        env = make_gates(actor, **options)
        env.reset(seed=3)
        return env

    return make
