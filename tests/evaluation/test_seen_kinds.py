"""Memorisation in a family of several kinds: an honest learner is cleared, a memoriser is not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest

import metagym
from metagym.evaluation import EvaluationConfig, EvaluationReport, compare, evaluate
from metagym.evaluation.planned_use import plan
from metagym.evaluation.preset import PresetEnvironment
from metagym.evaluation.report import build_report
from metagym.evaluation.scoring import Loop
from metagym.evaluation.seen_kinds import on_seen_kinds
from metagym.report.number_format import format_mean
from metagym.report.run_reading import read_runs
from metagym.report.table_rows import family_rows
from metagym.runs import Measurement, Role, RunFolder
from metagym.spaces import TextSpace
from metagym.tasks import ListedTaskSet, TaskSet
from metagym.types import Action, Episode, MetaStep, Observation, Step, Task, Usage, derive_seed

COLOURS = ("red", "blue", "green", "white", "black", "brown", "grey", "pink", "gold", "teal", "plum", "sand")
WORDS = ("apple", "river", "stone", "cloud")


def word_of(seed: int) -> str:
    """A door opens to the word of its colour."""
    return WORDS[derive_seed("word", seed % len(COLOURS)) % len(WORDS)]


class Doors(gymnasium.Env[str, str]):
    """A numbered door of some colour, and one try."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": [], "render_fps": 1}  # type: ignore[misc]

    def __init__(self) -> None:
        self.observation_space, self.action_space = TextSpace(), TextSpace()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        self.seed = int((options or {"task_id": f"doors/{seed}"})["task_id"].split("/")[1])
        colour = COLOURS[self.seed % len(COLOURS)]
        return f"Door {self.seed} is {colour}.", {"success": False, "colour": colour}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        is_open = action == word_of(self.seed)
        said = f"The word was {word_of(self.seed)}."
        return said, float(is_open), True, False, {"success": is_open}


class DoorMetaEnv(metagym.MetaEnv):
    default_prompt = "Say a word."
    kind: str | None = "colour"

    def make_inner_env(self) -> Doors:
        return Doors()

    def make_task_set(self) -> TaskSet:
        return TaskSet.from_seeds(Doors, 20_000, families=["doors"], kind=self.kind)


class DoorsWithoutKinds(DoorMetaEnv):
    kind = None


def obedient(episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
    """Say what the prompt says of this door, by number or by colour; else a random word."""
    number, colour = re.findall(r"Door (\d+) is (\w+)", observation.text)[0]
    notes = dict(re.findall(r"^- (\w+): (\w+)$", episode.prompt, re.MULTILINE))
    chance = str(np.random.default_rng(episode.seed).choice(WORDS))
    return Action(text=notes.get(number) or notes.get(colour) or chance)


def lessons(history: Sequence[MetaStep], group: int) -> str:
    found = []
    for item in history[-1].trajectories:
        assert item.final_observation is not None
        seen = re.findall(r"Door (\d+) is (\w+)", item.steps[0].observation.text)[0][group]
        found.append(f"- {seen}: {item.final_observation.text.split()[-1].strip('.')}")
    return "\n".join([history[-1].prompt, *found])


def honest(history: Sequence[MetaStep]) -> str:
    """Note the words of the colours in the batch."""
    return lessons(history, 1)


def memoriser(history: Sequence[MetaStep]) -> str:
    """Note the words of the very doors of the batch."""
    return lessons(history, 0)


def report_of(env: type[DoorMetaEnv], reflector: Any) -> EvaluationReport:
    config = EvaluationConfig(num_steps=3, episodes_per_step=3, num_seeds=8, num_validation=24, num_test=24)
    with env(obedient) as made:
        return evaluate(made, reflector, config=config)


@pytest.fixture(scope="module")
def honest_report() -> EvaluationReport:
    return report_of(DoorMetaEnv, honest)


def test_an_honest_learner_of_the_kinds_that_it_saw_has_no_gap(honest_report: EvaluationReport) -> None:
    figures = honest_report.overall
    assert figures.gain is not None
    assert figures.gain.sign == 1
    assert figures.kinds_gain is not None
    assert figures.kinds_gain.mean > 0.3
    assert figures.fresh_gain == figures.kinds_gain
    assert figures.memorisation_gap is not None
    assert figures.memorisation_gap.sign == 0


def test_without_kinds_the_validation_tasks_accuse_it() -> None:
    figures = report_of(DoorsWithoutKinds, honest).overall
    assert figures.kinds_gain is None
    assert figures.fresh_gain == figures.transfer_gain
    assert figures.memorisation_gap is not None
    assert figures.memorisation_gap.sign == 1


def test_a_memoriser_has_a_gap_all_the_same_and_one_to_the_honest_learner(honest_report: EvaluationReport) -> None:
    report = report_of(DoorMetaEnv, memoriser)
    gap, honest_gap = report.overall.memorisation_gap, honest_report.overall.memorisation_gap
    assert gap is not None
    assert honest_gap is not None
    assert gap.mean > 0.5
    assert gap.sign == 1
    (compared,) = compare([report, honest_report])
    assert compared.gap is not None
    assert compared.gap.sign == 1
    assert compared.gap.mean == pytest.approx(gap.mean - honest_gap.mean)


def test_the_plan_of_an_environment_that_names_kinds_counts_their_episodes(tmp_path: Path) -> None:
    sizes = {"num_steps": 2, "episodes_per_step": 3, "num_seeds": 1, "num_validation": 2, "num_test": 2}
    config = EvaluationConfig(families=("doors",), **sizes)
    for env, num in ((DoorMetaEnv, 4 * 6 + 3 * 2 + 3 * 2), (DoorsWithoutKinds, 2 * 6 + 3 * 2 + 3 * 2)):
        with env(obedient) as made:
            evaluate(made, memoriser, config=config, path=tmp_path / env.__name__)
        with RunFolder.open(tmp_path / env.__name__) as run:
            assert run.num_episodes == run.manifest.size[1] == num
        path = f"{__name__}:{env.__name__}"
        (planned,) = plan([(PresetEnvironment(id=path, families=("doors",)), config)])
        assert planned.num_episodes == num


def test_the_fresh_tasks_are_new_and_of_the_same_kinds(honest_report: EvaluationReport) -> None:
    assert honest_report.overall.replay_gain is not None
    with DoorMetaEnv(obedient) as env:
        batch = env.task_set.draw(3, rng=np.random.default_rng(0))
        loop = Loop("doors", 0, "arm", 1, ("doors",), 1, prompts=["a", "b"], batches=[batch])
        before, after = on_seen_kinds(env.task_set, loop)
    assert [task.kind for task in before.tasks] == [task.kind for task in batch]
    assert not {task.id for task in before.tasks} & {task.id for task in batch}
    assert (before.prompt, after.prompt, before.tasks) == ("a", "b", after.tasks)


def listed(number: int) -> Task:
    """Return one of twelve tasks, with four contents of two kinds."""
    about = {"family": "f", "split": "train", "digest": f"content {number % 4}", "kind": f"kind {number % 2}"}
    return Task(id=f"f/{number}", seed=number, **about)


def test_no_fresh_task_has_a_content_of_any_batch() -> None:
    tasks = [listed(number) for number in range(12)]
    batches = [tuple(tasks[:2]), tuple(tasks[4:6])]  # contents 0 and 1
    for seed in range(10):
        loop = Loop("f", 0, "arm", seed, ("f",), 2, prompts=["a", "b", "c"], batches=batches)
        for request in on_seen_kinds(ListedTaskSet(tasks), loop):
            assert [task.digest for task in request.tasks] == ["content 2", "content 3"]
        loop.batches = [tuple(tasks[:2]), (tasks[2],)]  # all contents of kind 0
        assert not list(on_seen_kinds(ListedTaskSet(tasks), loop))


def test_reflections_without_fresh_tasks_of_their_kinds_are_counted_and_left_out_of_the_gap() -> None:
    def scored(role: Role, index: int, score: float) -> Measurement:
        about = {"family": "f", "seed": 0, "prompt": "p", "num_steps": 1, "num_invalid": 0, "usage": Usage()}
        return Measurement(role=role, index=index, task_ids=("f/0",), scores=(score,), scripted=False, **about)

    measurements = [scored(Role.TEST_FIRST, 0, 0.0), scored(Role.TEST_CHOSEN, 2, 0.0)]
    measurements += [scored(Role.ONLINE, index, 0.0) for index in range(2)]
    measurements += [scored(Role.REPLAY, 0, 0.5), scored(Role.REPLAY, 1, 1.0)]
    measurements += [scored(Role.KINDS_BEFORE, 0, 0.0), scored(Role.KINDS_AFTER, 0, 0.5)]
    report = build_report(EvaluationConfig(num_steps=2), measurements, has_kinds=True)
    assert report.overall.memorisation_gap is not None
    assert report.overall.memorisation_gap.mean == 0.0
    (note,) = (note for note in report.notes if "seen kinds" in note)
    assert note.startswith("1 of 2 reflections are left out")


def test_a_seed_without_fresh_tasks_of_its_kinds_has_no_gap() -> None:
    def scored(role: Role, seed: int, score: float) -> Measurement:
        about = {"family": "f", "seed": seed, "prompt": "p", "num_steps": 1, "num_invalid": 0, "usage": Usage()}
        return Measurement(role=role, index=0, task_ids=("f/0",), scores=(score,), scripted=False, **about)

    measurements = []
    for seed in (0, 1):
        scores = {Role.TEST_FIRST: 0.0, Role.TEST_CHOSEN: 0.0, Role.ONLINE: 0.0, Role.REPLAY: 1.0}
        scores |= {Role.KINDS_BEFORE: 0.0, Role.KINDS_AFTER: 1.0} if seed == 0 else {}
        measurements += [scored(role, seed, score) for role, score in scores.items()]
        measurements += [scored(Role.VALIDATION, seed, 0.0).model_copy(update={"index": index}) for index in (0, 1)]
    report = build_report(EvaluationConfig(num_steps=1), measurements, has_kinds=True)
    assert report.gaps == {0: 0.0}


@pytest.mark.parametrize("num_validation", [0, 25])
def test_the_validation_size_has_no_part_in_a_gap_on_seen_kinds(num_validation: int) -> None:
    def scored(role: Role, seed: int, *scores: float) -> Measurement:
        about = {"family": "f", "seed": seed, "prompt": "p", "num_steps": 1, "num_invalid": 0, "usage": Usage()}
        return Measurement(role=role, index=0, task_ids=tuple("abcde"), scores=scores, scripted=False, **about)

    measurements = []
    for seed in range(6):
        noise = 0.01 * seed
        measurements += [scored(Role.ONLINE, seed, *[0.0] * 5), scored(Role.REPLAY, seed, *[0.5 + noise] * 5)]
        measurements += [scored(Role.KINDS_BEFORE, seed, *[0.0] * 5), scored(Role.KINDS_AFTER, seed, *[0.25] * 5)]
    config = EvaluationConfig(num_steps=1, episodes_per_step=5, num_seeds=6, num_validation=num_validation)
    gap = build_report(config, measurements, has_kinds=True).overall.memorisation_gap
    assert gap is not None
    assert gap.mean == pytest.approx(0.275)
    assert gap.low is not None
    assert gap.low > 0.1


def test_the_page_shows_the_gain_that_the_gap_takes_off(tmp_path: Path) -> None:
    config = EvaluationConfig(num_steps=2, episodes_per_step=3, num_seeds=3, num_validation=6, num_test=6)
    with DoorMetaEnv(obedient) as env:
        figures = evaluate(env, honest, config=config, path=tmp_path).overall
    (run,) = read_runs([tmp_path], max_episodes=0)
    shown = {name: format_mean(getattr(figures, name), sign=True) for name in ("kinds_gain", "transfer_gain")}
    assert shown["kinds_gain"] != shown["transfer_gain"]
    assert {row["fresh_gain"] for row in family_rows(run)} == {shown["kinds_gain"]}
