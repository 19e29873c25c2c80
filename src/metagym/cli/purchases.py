"""The part of `metagym estimate --like RUN` about noise: its sources, and what the same cost again would buy."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from metagym.cli.console import console, print_json


def print_what_it_buys(run: Path, as_json: bool) -> None:
    """Print the variance of a finished evaluation by its sources, and the interval after each purchase."""
    from metagym.evaluation.store import read_report
    from metagym.evaluation.variance import variance_parts, what_it_buys

    report = read_report(run)
    parts, purchases = variance_parts(report), what_it_buys(report)
    if as_json:
        print_json({"variance": parts, "purchases": purchases})
        return
    table = Table("", "seeds", "tasks", "repetitions", "episodes", "these tasks", "new tasks")
    for item in purchases:
        sizes = (item.num_seeds, item.num_test, item.test_repetitions, item.num_episodes)
        widths = ("-" if half is None else f"+-{half:.3f}" for half in (item.these_tasks, item.new_tasks))
        table.add_row(item.what, *(f"{size:,}" for size in sizes), *widths)
    sampling = "not known: use --option test_repetitions=2" if parts.sampling is None else f"{parts.sampling:.4f}"
    lines = (
        f"The variance of the gain, by source: seeds {parts.seeds:.4f}, tasks {parts.tasks:.4f}, "
        f"seeds and tasks together {parts.seeds_and_tasks:.4f}, the actor's sampling {sampling}.",
        "Each row after the first costs as much again. The last columns: half the expected 95 % interval of the gain.",
    )
    console.print(*lines, table, sep="\n", highlight=False)
