"""`metagym extend RUN --seeds N`: more seeds for a finished evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from metagym.cli import model_options
from metagym.cli.console import JsonOption, print_json, print_parts, print_text, resumable
from metagym.cli.progress import progress
from metagym.files import quoted


def extend_command(
    run: Annotated[Path, Argument(help="The folder of a finished `metagym evaluate` (its --out).")],
    seeds: Annotated[
        int, Option(min=2, help="Meta-episodes of each family that there shall be, the earlier ones included.")
    ],
    budget: model_options.BudgetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add seeds to a finished evaluation, and compare its arms again.

    The first seeds stay as they are. Each look is recorded, and from the second one on the verdict follows an interval
    that holds for any number of looks.
    """
    from metagym.evaluation.extension import extend_campaign
    from metagym.evaluation.output.tables import comparison_tables, report_tables

    limits = None if budget is None else model_options.read_budget(budget)
    with resumable(run, "the same command"), progress(run) as bars:
        bar = bars.add_task("episodes", total=None)
        found = extend_campaign(
            run,
            seeds,
            budget=limits,
            on_arm=lambda name, num: bars.reset(bar, total=num, description=name),
            on_episode=lambda trajectory: bars.advance(bar),
        )
    if as_json:
        print_json([report for evaluated in found for report in evaluated.reports])
        return
    for evaluated in found:
        print_parts(report_tables(evaluated.reports[0]))
        if evaluated.comparisons:
            print_parts(comparison_tables(evaluated.comparisons))
        print_text(
            f"\nThe records are in {evaluated.folder}: metagym report {quoted(evaluated.folder)} -o report.html\n"
        )
