"""The progress of a command in a pipe or a log."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from metagym.cli.progress import PERIOD_S, ProgressLines
from metagym.runs import Manifest
from metagym.runs.running import run_experiment


def test_a_pipe_gets_a_line_after_each_period_with_the_totals_and_the_time_left(tmp_path: Path) -> None:
    """Each episode takes a third of a period: ten episodes print three lines."""
    seconds, printed = iter(range(0, 1_000, int(PERIOD_S / 3))), io.StringIO()
    lines = ProgressLines(tmp_path / "run", to=Console(file=printed), clock=lambda: next(seconds))
    bar = lines.add_task("episodes", total=None)
    options = {"actor": "demo", "episodes_per_step": 2}
    manifest = Manifest(env_id="MetaGym/Gates-v0", env_options=options, reflector="demo", seed=0, num_steps=5)
    run_experiment(manifest, tmp_path / "run", on_episode=lambda: lines.advance(bar))
    found = printed.getvalue().splitlines()
    assert len(found) == 3
    assert all("meta-step" in line and "of 10 episodes" in line for line in found)
    assert "left" not in found[0]
    assert all("about " in line and " left" in line for line in found[1:])
