"""Draw what reference_prompts.py played: the score under each prompt, one grey line for each law or seed.

    python benchmarks/reference_prompts.py CASSETTE --out episodes.jsonl
    python benchmarks/plot_prompts.py episodes.jsonl prompts.svg

The figure is made from the episodes alone. It needs the extra report.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import fmean

from metagym.evaluation.output.plots import write_figure

PROMPTS = ("default", "right", "wrong", "other family")


def scores(lines: list[str]) -> dict[str, dict[str, list[float]]]:
    """Return, for each world and cluster, the mean score under each of PROMPTS."""
    episodes: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for line in lines:
        told = json.loads(line)
        episodes[told["world"], str(told["cluster"]), told["prompt"]].append(told["episode"]["score"])
    found: dict[str, dict[str, list[float]]] = defaultdict(dict)
    for world, cluster, _ in episodes:
        found[world][cluster] = [fmean(episodes[world, cluster, prompt]) for prompt in PROMPTS]
    return found


def main(source: str, target: str) -> None:
    from matplotlib.figure import Figure

    found = scores(Path(source).read_text(encoding="utf-8").splitlines())
    figure = Figure(figsize=(4.5 * len(found), 3.2), layout="constrained")
    axes = figure.subplots(1, len(found), sharey=True, squeeze=False)
    for axis, (world, clusters) in zip(axes.flat, found.items(), strict=True):
        for means in clusters.values():
            axis.plot(PROMPTS, means, color="0.75", linewidth=1)
        axis.plot(PROMPTS, [fmean(column) for column in zip(*clusters.values(), strict=True)], "o", color="C0")
        axis.set(title=world, ylim=(0, 1))
    axes.flat[0].set_ylabel("score")
    write_figure(figure, Path(target))


if __name__ == "__main__":
    main(*sys.argv[1:])
