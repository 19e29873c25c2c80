"""What a reflector learned in the runs of `metagym train demo`: table, curves, its replies before and after.

    python benchmarks/learning_run.py RUNS [--figure learning.svg]     # the table of the page; the figure
    python benchmarks/learning_run.py RUNS --samples 3                 # asks the models, and writes samples.jsonl

RUNS is the folder of `metagym train demo --out RUNS`; the table and the figure need only its reports and metrics. The
figure needs the extra report, the samples the extra train.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from measuring import print_table

from metagym.evaluation.output.plots import write_figure
from metagym.statistics import mean_interval

if TYPE_CHECKING:
    from metagym.types import MetaStep

ARMS = ("untrained", "trained", "permuted", "shuffled", "constant", "bayes")
NUM_REPLIES = 4
"""How often each reflector is asked about a batch."""


def reports(folder: Path) -> list[dict[str, Any]]:
    """Return the reports of the runs, by seed."""
    found = [json.loads(file.read_text(encoding="utf-8")) for file in folder.glob("seed-*/report.json")]
    return sorted(found, key=lambda report: int(report["seed"]))


def final(report: dict[str, Any], arm: str) -> float | None:
    return None if report[arm] is None else float(report[arm]["final"])


def print_results(folder: Path) -> None:
    """Print one line for each run, and the differences from the untrained reflector over the runs."""
    runs = reports(folder)
    rows = [
        (str(run["seed"]), *("" if (value := final(run, arm)) is None else f"{value:.2f}" for arm in ARMS))
        for run in runs
    ]
    print_table(("run", *ARMS), *rows)
    print()
    differences = []
    for arm in ("trained", "permuted", "shuffled"):
        pairs = [(final(run, arm), final(run, "untrained")) for run in runs]
        gain = mean_interval([a - b for a, b in pairs if a is not None and b is not None])
        if gain is not None:
            shown = "" if gain.low is None else f"[{gain.low:+.3f}, {gain.high:+.3f}]"
            differences.append((f"{arm} - untrained", str(gain.num), f"{gain.mean:+.3f}", shown))
    print_table(("difference", "runs", "mean", "95 % t interval"), *differences)


def rewards(folder: Path, arm: str) -> list[list[float]]:
    """Return the mean reward of each step, one list for each run of the arm."""
    files = sorted(folder.glob(f"seed-*/{arm}/metrics.jsonl"))
    return [[json.loads(line)["reward"] for line in file.read_text(encoding="utf-8").splitlines()] for file in files]


def draw(folder: Path, target: Path) -> None:
    """Draw the rewards of the training, and the held-out success after each reflection."""
    from matplotlib.figure import Figure

    colours = dict(zip(ARMS, ("0.4", "C0", "C1", "C3", "C4", "C2"), strict=True))
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for arm in ("trained", "shuffled"):
        curves = rewards(folder, arm)
        for curve in curves:
            left.plot(curve, color=colours[arm], linewidth=0.5, alpha=0.5)
        means = [fmean(values) for values in zip(*curves, strict=True)]
        smooth = [fmean(means[max(0, index - 4) : index + 1]) for index in range(len(means))]
        left.plot(smooth, color=colours[arm], label=f"{arm}, mean of five steps")
    left.set(title="training", xlabel="GRPO step", ylabel="reward", ylim=(0, 1.03))
    left.legend(loc="lower right")
    for arm in ARMS:
        scores = [[*run[arm]["online"], run[arm]["final"]] for run in reports(folder) if run[arm] is not None]
        right.plot([fmean(values) for values in zip(*scores, strict=True)], "o-", color=colours[arm], label=arm)
    right.set(title="held-out laws", xlabel="reflections", ylabel="success")
    right.set_xticks(range(5))
    right.legend(loc="upper left", bbox_to_anchor=(1, 1))
    write_figure(figure, target)


def write_samples(folder: Path, num_batches: int) -> None:
    """Ask the first run's untrained and trained reflector about batches of held-out laws; write `samples.jsonl`."""
    from metagym.training.policy import Policy
    from metagym.training_demo import gates_problem as toy

    place = min(folder.glob("seed-*"))
    newest = max((place / "trained" / "checkpoints").iterdir())
    policies = {"untrained": Policy.load(place / "start"), "trained": Policy.load(newest)}

    def as_before(histories: Sequence[Sequence[MetaStep]]) -> list[str]:
        return [history[-1].prompt for history in histories]

    laws = toy.TEST_LAWS[:num_batches]
    with toy.GatesMetaEnv("demo", episodes_per_step=2, split="test") as env:
        histories, _ = toy.play_loops(env, as_before, laws, num_steps=1, seed=0)
    lines: list[dict[str, Any]] = []
    for number, (law, (batch,)) in enumerate(zip(laws, histories, strict=True)):
        messages = toy.compact_messages(batch)
        lines.append({"law": law, "read": messages[0]["content"]})
        for name, policy in policies.items():
            asked, generator = [policy.encode(messages)] * NUM_REPLIES, policy.generator(number)
            sampled = policy.sample(asked, max_new_tokens=toy.MAX_NEW_TOKENS, generator=generator)
            lines[-1][name] = [sample.text for sample in sampled]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (place / "samples.jsonl").write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("--figure", type=Path, help="an SVG file")
    parser.add_argument("--samples", type=int, default=0, help="ask both reflectors about so many held-out batches")
    options = parser.parse_args()
    print_results(options.runs)
    if options.figure:
        draw(options.runs, options.figure)
    if options.samples:
        write_samples(options.runs, options.samples)


if __name__ == "__main__":
    main()
