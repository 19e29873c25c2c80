"""Draw what reference_prompts.py played: the score under each prompt, one grey line for each law or seed.

    python benchmarks/reference_prompts.py CASSETTE --out episodes.jsonl
    python benchmarks/plot_prompts.py episodes.jsonl prompts.svg

The figure is made from the episodes alone. It needs the extra report.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import fmean

from reference_prompts import PROMPTS, means_in

from metagym.evaluation.output.plots import write_figure


def main(source: str, target: str) -> None:
    from matplotlib.figure import Figure

    found = means_in(Path(source))
    figure = Figure(figsize=(4.5 * len(found), 3.2), layout="constrained")
    axes = figure.subplots(1, len(found), sharey=True, squeeze=False)
    for axis, (world, means) in zip(axes.flat, found.items(), strict=True):
        for cluster in zip(*(means[prompt] for prompt in PROMPTS), strict=True):
            axis.plot(PROMPTS, cluster, color="0.75", linewidth=1)
        axis.plot(PROMPTS, [fmean(means[prompt]) for prompt in PROMPTS], "o", color="C0")
        axis.set(title=world, ylim=(0, 1))
    axes.flat[0].set_ylabel("score")
    write_figure(figure, Path(target))


if __name__ == "__main__":
    main(*sys.argv[1:])
