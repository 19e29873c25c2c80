"""A shorter soak than the benchmark's: every fault on, and the ledger still equals the server's count."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("budget", [[], ["--tokens", "150000"]], ids=["a large budget", "a budget that ends it"])
def test_the_ledger_equals_the_servers_count_with_every_fault_on(budget: list[str]) -> None:
    options = ["--calls", "500", "--seed", "1", "--timeout", "4", *budget]
    soak = [sys.executable, str(ROOT / "benchmarks" / "soak.py"), *options]
    done = subprocess.run(soak, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "DIFFERS" not in done.stdout
