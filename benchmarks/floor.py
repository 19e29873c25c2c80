"""The floor of a preset: a fixed actor and no reflection, so that every difference is chance or comes from the tasks.

Each environment and k of the preset is evaluated as `metagym evaluate` does it, all families and seeds, with the
reflector `fixed`. Asked are the trend of the online score along the meta-steps, and the validation and the test score
against natural play: tasks of the family drawn without regard to their role. Rows with p below 0.05 are named; the p of
all rows together are Holm's, and one of these below 0.05 gives the exit code 1.

The actor is a script with a document of its own and random slips: it plays alike under any prompt, and scores
between 0 and 1. (`--actor random` reaches nothing but the stairs of a room.)

    python benchmarks/floor.py [--preset ict] [--seeds 10] [--natural 400] [--actor random]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from metagym.actor import ActorSpec
from metagym.envs.alfworld.demo import LESSONS, ALFWorldDemoActor
from metagym.envs.gates.demo import GatesDemoActor
from metagym.envs.minihack.demo import MiniHackDemoActor
from metagym.evaluation.campaign import opened, run_campaign
from metagym.evaluation.difficulty import FamilyDifficulty, family_difficulty
from metagym.evaluation.preset import Preset, PresetEnvironment, load_preset
from metagym.meta_episode import episodes_on
from metagym.runs import MANIFEST, Measurement, Role, RunFolder
from metagym.statistics import Estimate, together
from metagym.types import Action, Episode, Observation, Step, derive_seed

MINIHACK = """\
- when you hold a scroll, read it
- when you hold an amulet, put it on
- when you hold a wand, zap it
- when an item is in sight, fetch it"""
ALFWORLD = "\n".join(f"- {LESSONS[name]}" for name in ("open", "cool", "second"))


class Unmoved:
    """Lets an actor play under one document, whatever the prompt says."""

    scripted = True

    def __init__(self, actor: Any, document: str) -> None:
        self.actor, self.document = actor, document
        self.fingerprint = {"kind": "Unmoved", "actor": actor.fingerprint, "document": document}

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        return await self.actor.act(episode.model_copy(update={"prompt": self.document}), steps, observation)


ACTORS = {
    "MetaGym/ALFWorld-v0": Unmoved(ALFWorldDemoActor(slip=0.4), ALFWORLD),
    "MetaGym/MiniHack-v0": Unmoved(MiniHackDemoActor(slip=0.7), MINIHACK),
    "MetaGym/Gates-v0": Unmoved(GatesDemoActor(slip=0.1), "- when the gate is oak, push"),
}


class Found(NamedTuple):
    """The floor of one family at one k."""

    place: str
    difficulty: FamilyDifficulty
    """With the role `natural`: tasks drawn without regard to their role."""
    tests: dict[str, Estimate]
    """The trend, and natural play minus the other roles. All k have the same validation and test episodes."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="ict")
    parser.add_argument("--actor", default="", help="another actor for all environments, such as random")
    parser.add_argument("--seeds", type=int, help="by default those of the preset")
    parser.add_argument("--natural", type=int, default=400, help="tasks of natural play in each family")
    arguments = parser.parse_args()
    preset = load_preset(arguments.preset)
    if arguments.seeds:
        preset = preset.model_copy(update={"num_seeds": arguments.seeds})
    found = [
        item
        for environment in preset.environments
        for item in floor_of(preset, environment, arguments.actor or ACTORS[environment.id], arguments.natural)
    ]
    return judge(found)


def floor_of(preset: Preset, environment: PresetEnvironment, actor: ActorSpec, num_natural: int) -> Iterator[Found]:
    """Evaluate one environment for each k, and play its families naturally."""
    start = time.process_time()
    natural = {family: natural_scores(environment, family, actor, num_natural) for family in environment.families}
    note(f"{environment.id}: {len(natural)} x {num_natural} episodes of natural play", start)
    for k in preset.episodes_per_step:
        start = time.process_time()
        one = preset.model_copy(update={"environments": (environment,), "episodes_per_step": (k,)})
        with tempfile.TemporaryDirectory() as folder:
            ((place, (report,), _),) = run_campaign(one, actor=actor, reflector="fixed", path=folder, controls=())
            with RunFolder.open(next(place.glob(f"*/{MANIFEST}")).parent) as run:
                measured, num_episodes = list(run.all(Measurement).values()), len(list(run.episodes()))
        note(f"{place.name}: {num_episodes} episodes of {report.num_seeds} seeds", start)
        for family in report.config.families:
            own = [item for item in measured if item.family == family]
            roles = {"validation": Role.VALIDATION, "test": Role.TEST_FIRST}
            difficulty = family_difficulty(
                family,
                contents={},
                scores={"natural": natural[family], **{name: task_means(own, role) for name, role in roles.items()}},
                by_meta_step=online_scores(own),
                resolution=1 / k,
            )
            tests = {} if difficulty.trend is None else {"trend": difficulty.trend}
            if k == preset.episodes_per_step[0]:
                tests |= {name: difficulty.role_differences[f"natural - {name}"] for name in roles}
            yield Found(f"{place.name} {family}", difficulty, tests)


def task_means(measured: Sequence[Measurement], role: Role) -> list[float]:
    """Return the mean score of each task under `sp_0`, over all seeds."""
    by_task: dict[str, list[float]] = {}
    for item in measured:
        if (item.role, item.index) == (role, 0):
            for task, scores in item.by_task.items():
                by_task.setdefault(task, []).extend(scores)
    return [float(np.mean(scores)) for scores in by_task.values()]


def online_scores(measured: Sequence[Measurement]) -> np.ndarray[Any, Any]:
    """Return the mean scores of the fresh batches, shape `[num_seeds, num_steps]`."""
    online = {(item.seed, item.index): item.mean for item in measured if item.role is Role.ONLINE}
    seeds, steps = (sorted({key[place] for key in online}) for place in (0, 1))
    return np.array([[online[seed, step] for step in steps] for seed in seeds], dtype=np.float64)


def natural_scores(
    environment: PresetEnvironment, family: str, actor: ActorSpec, num_tasks: int
) -> np.ndarray[Any, Any]:
    """Return the scores of tasks as the family gives them, whatever their role."""
    with opened(environment, 1, actor) as (_, env):
        rng = np.random.default_rng(derive_seed("natural play", family))
        tasks = list(islice(env.task_set.candidates(family, rng), num_tasks))
        played = env.play(episodes_on(tasks, env.default_prompt, run_seed=0, arm="natural play", meta_step=0))
    return np.array([item.score for item in played], dtype=np.float64)


def judge(found: Sequence[Found]) -> int:
    """Print the tables; return 1 if any test, adjusted for their number, is below 5 %."""
    tests = {(item.place, name): test for item in found for name, test in item.tests.items()}
    adjusted = together(tests)
    print("| | meta-steps 0 to 9 | trend | natural | validation | test | smallest p: own, Holm's |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for item in found:
        curve = " ".join(f"{score:.2f}" for score in item.difficulty.by_meta_step if score is not None)
        trend = item.difficulty.trend
        shown = "" if trend is None else f"{trend.mean:+.2f} [{trend.low:+.2f}, {trend.high:+.2f}]"
        means = " | ".join(f"{item.difficulty.scores[role].mean:.2f}" for role in ("natural", "validation", "test"))
        own = min(test.p_value or 1.0 for test in item.tests.values())
        holm = min(adjusted[item.place, name].adjusted_p or 1.0 for name in item.tests)
        print(f"| {item.place} | {curve} | {shown} | {means} | {own:.3f}, {holm:.2f} |")
    below = [name for name, test in tests.items() if (test.p_value or 1.0) < 0.05]
    print(f"{len(tests)} tests, {len(below)} with an own p below 0.05 ({0.05 * len(tests):.1f} expected): {below}")
    print("SCRIPTED: a script played.")
    return int(any(item.sign for item in adjusted.values() if item is not None))


def note(what: str, start: float) -> None:
    print(f"{what}, {time.process_time() - start:.0f} s CPU", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
