"""The part of `metagym estimate --like RUN` about noise: its sources, and the worth of the same cost again."""

from __future__ import annotations

from pathlib import Path

from metagym.cli.console import print_json, print_parts


def print_what_it_buys(run: Path, as_json: bool) -> None:
    """Print the variance of a finished evaluation by its sources, and the interval after each purchase."""
    from metagym.evaluation.output.tables import noise_tables
    from metagym.evaluation.store import read_report
    from metagym.evaluation.variance import noise_sources, variance_parts, what_it_buys

    report = read_report(run)
    if as_json:
        sources, purchases = noise_sources(report), what_it_buys(report)
        print_json({"variance": variance_parts(report), "sources": sources, "purchases": purchases})
    else:
        print_parts(noise_tables(report))
