"""Draw the curves of results.json as one SVG: latency, growth in time, growth in memory, workers.

    python benchmarks/plot_results.py results.json results.svg

It needs the extra report.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from metagym.evaluation.output.plots import write_figure

PANELS = (
    ("latency", "episodes in flight", "ratio to the engine or the bound", 2),
    ("growth", "batch", "CPU an episode (us)", 2),
    ("growth", "meta-steps", "resident memory (MiB)", 0),
    ("parallel", "worker processes", "speed-up over one", 0),
)
"""(benchmark, x axis, y axis, base of the x axis' logarithm or 0)"""


def curves(results: dict[str, Any], benchmark: str) -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in results["benchmarks"].get(benchmark, ()):
        if row["series"]:
            found[row["series"]].append((row["x"], row["value"]))
    return found


def main(source: str, target: str) -> None:
    from matplotlib.figure import Figure

    results = json.loads(Path(source).read_text(encoding="utf-8"))
    figure = Figure(figsize=(10, 6.5), layout="constrained")
    axes = figure.subplots(2, 2)
    for axis, (benchmark, x, y, base) in zip(axes.flat, PANELS, strict=True):
        found = curves(results, benchmark)
        one = {name: points for name, points in found.items() if name == y}
        for name, points in (one or found).items():
            if benchmark == "growth" and name != y:
                continue
            axis.plot(*zip(*sorted(points), strict=True), marker="o", markersize=3, label=name if not one else None)
        axis.set(xlabel=x, ylabel=y, title=benchmark)
        axis.set_ylim(bottom=0)
        if base and axis.lines:
            axis.set_xscale("log", base=base)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize=7)
    write_figure(figure, Path(target))


if __name__ == "__main__":
    main(*sys.argv[1:])
