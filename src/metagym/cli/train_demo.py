"""`metagym train demo`: the demonstration, printed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from metagym.cli.console import AGAIN, SeedOption, console, resumable


def train_demo_command(
    runs: Annotated[int, typer.Option(min=2, max=10, help="Training runs: the replicates of the t interval.")] = 5,
    steps: Annotated[int, typer.Option("--steps", "-n", min=1, help="GRPO steps of a run.")] = 80,
    processes: Annotated[int, typer.Option(min=1, help="Runs at the same time, each on one core.")] = 2,
    shuffled: Annotated[bool, typer.Option(help="Also train each run on shuffled rewards.")] = True,
    seed: SeedOption = 0,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the runs; finished ones are not run again.")] = (
        Path("runs/train-demo")
    ),
) -> None:
    """See GRPO teach a tiny reflector to read outcomes: several runs, held-out laws, controls. On the CPU."""
    from metagym.imports import require

    require("torch", extra="train"), require("transformers", extra="train")
    from metagym.training_demo.demonstration import DemoConfig, run_demo

    def print_rewards(report: Any) -> None:
        console.print(f"run {report.seed}: reward {curve(report.rewards)}", highlight=False)

    seeds = range(seed, seed + runs)
    config = DemoConfig(num_steps=steps, shuffled=shuffled)
    with resumable(out, AGAIN):
        reports = run_demo(out, seeds, config, num_processes=min(processes, runs), on_run=print_rewards)
    _print_reports(reports)
    console.print(f"\nThe runs are in {out}.", soft_wrap=True, highlight=False)


def curve(rewards: Any) -> str:
    """Return about ten points of the curve, each the mean of a stretch of it."""
    known = [value for value in rewards if value is not None]
    size = max(1, -(-len(known) // 10))
    parts = [known[start : start + size] for start in range(0, len(known), size)]
    return " ".join(f"{sum(part) / len(part):.2f}" for part in parts)


def _print_reports(reports: Any) -> None:
    from metagym.statistics import mean_interval

    caption = "SCRIPTED actor: this tests the training loop, and says nothing about language models."
    table = Table(
        *("run", "untrained", "trained", "gain", "gap closed", "permuted", "shuffled", "constant", "Bayes"),
        title="Success of the last prompt on held-out laws, after four meta-steps",
        caption=caption,
    )
    for item in reports:
        table.add_row(
            str(item.seed),
            f"{item.untrained.final:.2f}",
            f"{item.trained.final:.2f}",
            f"{item.gain:+.2f}",
            f"{item.gap_closed:.0%}",
            f"{item.permuted.final:.2f}",
            "-" if item.shuffled is None else f"{item.shuffled.final:.2f}",
            f"{item.constant.final:.2f}",
            f"{item.bayes.final:.2f}",
        )
    console.print(table)
    rows = [("trained - untrained", [item.gain for item in reports])]
    rows.append(("permuted outcomes - untrained", [item.permuted.final - item.untrained.final for item in reports]))
    if all(item.shuffled is not None for item in reports):
        rows.append(("shuffled rewards - untrained", [item.shuffled.final - item.untrained.final for item in reports]))
    for name, values in rows:
        found = mean_interval(values)
        if found is not None and found.low is not None and found.high is not None:
            interval = f"95 % t interval over {found.num} runs [{found.low:+.3f}, {found.high:+.3f}]"
            console.print(f"{name}: {found.mean:+.3f}, {interval}", highlight=False)
