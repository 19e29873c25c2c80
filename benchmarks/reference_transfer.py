"""Question (c) of the plan: does what was learned carry over, to another law or to another actor?

    python benchmarks/reference_transfer.py CASSETTE LEARNED [--law next] [--model FILE.gguf]

LEARNED is the folder that reference_reflectors.py wrote. The last prompt of each method is played on eight new roads:
of the law that follows (`--law next`), or of its own law (`--law own`), which is for another actor. With a model, the
replies that the cassette does not hold are asked for; without one, all is played again from the cassette. See
docs/results/plan.md.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np
from measuring import note
from reference_prompts import unpacked
from reference_reflectors import ACTOR, METHODS, preset, print_results

from metagym import MetaEnv, background
from metagym.actor import Actor, make_actor
from metagym.cli.model_options import replayed
from metagym.evaluation.campaign_folder import folder_name, folder_of
from metagym.evaluation.store import read_report
from metagym.models import Cassette
from metagym.optional_attributes import extension_of
from metagym.types import derive_seed

ARMS = (*(name for name in METHODS if name != "fixed"), "best_of_n(ict)", "expert")
NUM_ROADS = 8


def last_prompts(learned: Path, num_laws: int) -> dict[str, dict[str, str]]:
    """Return the last prompt of each arm on each law."""
    plan = preset(num_laws)
    folder = folder_of(learned, *plan.configs()[0])
    reports = {arm: read_report(folder / folder_name(arm)) for arm in ARMS}
    return {arm: {item.family: item.last_prompt for item in report.prompts} for arm, report in reports.items()}


def play(law: str, prompts: Mapping[str, str], actor: Actor, options: Mapping[str, Any]) -> dict[str, float]:
    """Return the mean score under the default prompt (`fixed`) and under each of `prompts`, on equal new roads."""
    made = gymnasium.make("MetaGym/Gates-v0", actor=actor, families=[law], **options)
    with closing(cast(MetaEnv, made.unwrapped)) as env:
        rng = np.random.default_rng(derive_seed("transfer", law))
        roads = [task.id for task in env.task_set.draw(NUM_ROADS, rng=rng, families=[law], split="test")]
        all_prompts = {"fixed": env.default_prompt, **prompts}
        played = env.replay(list(all_prompts.values()), roads)
    means = {}
    for arm, step in zip(all_prompts, played, strict=True):
        scores = [score for score in step.scores if score is not None]
        if len(scores) < NUM_ROADS:
            raise SystemExit(f"{NUM_ROADS - len(scores)} episodes of {arm} on {law} failed. Run the command again.")
        means[arm] = sum(scores) / NUM_ROADS
    return means


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cassette", type=Path)
    parser.add_argument("learned", type=Path)
    parser.add_argument("--law", choices=["next", "own"], default="next")
    parser.add_argument("--model", type=Path, help="a GGUF file; without one the cassette is replayed")
    parser.add_argument("--laws", type=int, default=5)
    asked = parser.parse_args()
    environment = preset(asked.laws).environments[0]
    laws, learned = environment.families, last_prompts(asked.learned, asked.laws)
    with tempfile.TemporaryDirectory() as folder:
        path = unpacked(asked.cassette, folder)
        actor: dict[str, Any] = {"model": f"local:{asked.model}" if asked.model else "local", **ACTOR}
        player = make_actor(actor if asked.model else replayed(actor, "actor", str(path)))
        mode = "read-through" if asked.model else "replay"
        scores: dict[str, list[float]] = {arm: [] for arm in ("fixed", *ARMS)}
        try:
            with closing(Cassette(path, mode=mode)) as cassette, cassette.open():
                for index, law in enumerate(laws):
                    place = law if asked.law == "own" else laws[(index + 1) % len(laws)]
                    means = play(place, {arm: learned[arm][law] for arm in ARMS}, player, environment.options)
                    for arm, mean in means.items():
                        scores[arm].append(mean)
                    note(f"{law} on {place}: played")
        finally:
            background.run_or_start(extension_of(player).aclose())
    print_results(scores)


if __name__ == "__main__":
    main()
