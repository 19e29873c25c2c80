"""Question (b) of the plan: can a small model reflect? Methods and controls on equal budgets, each law a replicate.

    python benchmarks/reference_reflectors.py CASSETTE OUT [--model FILE.gguf] [--laws 5] [--figure FILE]

OUT is the arena's folder; a run that was stopped goes on. With a model, the replies that the cassette does not hold are
asked for. Without one, all is played again from the cassette (`CASSETTE.xz` is read as well), and the same table is
printed. See docs/results/plan.md.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from measuring import note, print_table
from reference_prompts import holm_of, in_cell, unpacked

from metagym.cli.model_options import replayed
from metagym.envs.gates.env import FAMILIES, GATES, law_of
from metagym.evaluation import EvaluationReport
from metagym.evaluation.arena import Entrant, run_arena
from metagym.evaluation.output.plots import write_figure
from metagym.evaluation.preset import Preset, PresetEnvironment
from metagym.models import Cassette
from metagym.optimizers import BestOfN, InTurn
from metagym.reflectors import as_reflector, make_reflector
from metagym.statistics import mean_interval
from metagym.types import MetaStep

METHODS = ("fixed", "ict", "ace_style", "exemplars")
BATCH = 4
ACTOR = {"constrain": "auto", "reply_format": "act", "sampling": {"max_tokens": 40}}


def expert(history: Sequence[MetaStep]) -> str:
    """Write one true line more: the positive control, which knows the law."""
    last = history[-1]
    law = law_of(last.trajectories[0].task.family)
    lines = [f"When the gate is {gate}, {way}." for gate, way in zip(GATES, law.opens, strict=True)]
    missing = [line for line in lines if line not in last.prompt]
    return "\n".join([last.prompt, *missing[:1]])


def preset(num_laws: int) -> Preset:
    """Return the protocol: twelve roads to learn on, then eight test roads, each law once; nothing is chosen."""
    laws = FAMILIES[81 :: len(FAMILIES) // 20][:num_laws]
    others = FAMILIES[40 :: len(FAMILIES) // 20][:num_laws]
    options = {"max_steps": 12, "score": "progress", "allow_bad_batches": True}
    return Preset(
        name="reference reflectors",
        environments=(PresetEnvironment(id="MetaGym/Gates-v0", families=laws, train_families=others, options=options),),
        controls=("same again", "permuted outcomes", "other family"),
        num_steps=3,
        episodes_per_step=(BATCH,),
        num_seeds=1,
        num_validation=0,
        num_test=2 * BATCH,
    )


def score_of(report: EvaluationReport, law: str) -> float:
    """Return the test score of the last prompt on a law."""
    found = report.families[law].test_last
    assert found is not None
    return found.mean


def scores_of(reports: Sequence[EvaluationReport], laws: Sequence[str]) -> dict[str, list[float]]:
    """Return the scores of each arm, one for each law."""
    return {report.arm: [score_of(report, law) for law in laws] for report in reports}


def gains_of(scores: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """Return the differences from `fixed` of the other arms, one for each law."""
    fixed = scores["fixed"]
    return {arm: [a - b for a, b in zip(own, fixed, strict=True)] for arm, own in scores.items() if arm != "fixed"}


def print_results(scores: Mapping[str, Sequence[float]]) -> None:
    """Print one line for each arm; the differences are paired by law, and Holm's p is over all arms."""
    gains = {arm: mean_interval(own) for arm, own in gains_of(scores).items()}
    adjusted = holm_of(gains)
    rows = []
    for arm, own in scores.items():
        p = f"{adjusted[arm]:.3f}" if arm in adjusted else ""
        rows.append((arm, str(len(own)), f"{sum(own) / len(own):.3f}", in_cell(gains.get(arm)), p))
    print_table(("arm", "laws", "test score", "minus fixed [95 %]", "p (Holm)"), *rows)


def draw(scores: Mapping[str, Sequence[float]], path: Path) -> None:
    """Draw the difference from `fixed` of each arm: a grey dot for each law, the mean and its interval in blue."""
    from matplotlib.figure import Figure

    gains = gains_of(scores)
    figure = Figure(figsize=(6.5, 0.4 * len(gains) + 0.8), layout="constrained")
    axis = figure.subplots()
    for row, own in enumerate(gains.values()):
        axis.plot(own, [row] * len(own), "o", color="0.7", markersize=4)
        interval = mean_interval(own)
        if interval is not None and interval.low is not None:
            axis.plot([interval.low, interval.high], [row, row], color="C0")
            axis.plot(interval.mean, row, "o", color="C0")
    axis.axvline(0, color="0.5", linewidth=1)
    axis.set_yticks(range(len(gains)), list(gains))
    axis.invert_yaxis()
    axis.set_xlabel("test score minus that of the default prompt")
    write_figure(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cassette", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", type=Path, help="a GGUF file; without one the cassette is replayed")
    parser.add_argument("--laws", type=int, default=5)
    parser.add_argument("--figure", type=Path, help="an SVG or PNG of the differences; needs the extra report")
    asked = parser.parse_args()
    plan = preset(asked.laws)
    with tempfile.TemporaryDirectory() as folder:
        path = unpacked(asked.cassette, folder)
        name = f"local:{asked.model}" if asked.model else "local"
        actor: dict[str, Any] = {"model": name, **ACTOR}
        model: dict[str, Any] = {"model": name, "sampling": {"max_tokens": 600}}
        if asked.model is None:
            actor, model = replayed(actor, "actor", str(path)), replayed(model, "reflector", str(path))
        with closing(Cassette(path, mode="read-through" if asked.model else "replay")) as cassette, cassette.open():
            best = make_reflector({"method": "ict", **model})
            entrants = [
                Entrant("best_of_n(ict)", best, BestOfN(n=2, num_steps=1)),  # 4 roads, and 4 for each candidate
                Entrant("expert", as_reflector(expert), InTurn(3)),
            ]
            (bout,) = run_arena(
                plan,
                [*METHODS, *entrants],
                actor=actor,
                model=model,
                path=asked.out,
                on_arm=lambda name, episodes: note(f"{name}: {episodes} episodes"),
            )
    scores = scores_of(bout.reports, plan.environments[0].families)
    print_results(scores)
    if asked.figure is not None:
        draw(scores, asked.figure)


if __name__ == "__main__":
    main()
