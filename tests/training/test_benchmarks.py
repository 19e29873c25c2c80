"""The GPU benchmark of training runs as a script, on a tiny model without a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, SRC

pytestmark = pytest.mark.train
pytest.importorskip("torch", reason="needs metagym[train]")


@pytest.mark.timeout(200)
def test_it_times_lora_and_full(tmp_path: Path) -> None:
    script = [sys.executable, "-W", "ignore", str(ROOT / "benchmarks" / "training_gpu.py"), str(tmp_path)]
    sizes = ["--tiny", "--no-trl", "--steps", "2", "--prompt-words", "12", "--new-tokens", "4", "--groups", "1"]
    environment = {**os.environ, "PYTHONPATH": str(SRC.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*script, *sizes], capture_output=True, text=True, timeout=180, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    first, *rows = done.stdout.splitlines()
    assert "8 replies of 4 tokens a step" in first
    assert [row.split(":")[0].strip() for row in rows] == ["plain, LoRA 16", "plain,    full"]
    assert all("written tokens/s" in row for row in rows)
