"""A few of the benchmark's kills: a command that is killed and resumed ends as one that is not, and pays once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for leftovers in /proc")
@pytest.mark.timeout(300)
def test_commands_that_are_killed_and_resumed_end_as_uninterrupted_ones() -> None:
    kills = [sys.executable, str(ROOT / "benchmarks" / "kills.py"), "--kills", "2"]
    done = subprocess.run(kills, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
