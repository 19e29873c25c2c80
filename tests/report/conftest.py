"""Runs to look at: written by hand where every text counts, played where the figures do."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import pytest

from metagym.actor import ChatActor
from metagym.envs.gates.demo import GatesDemoReflector
from metagym.evaluation import EvaluationConfig, evaluate
from metagym.evaluation.controls import control_arm
from metagym.report import make_report
from metagym.runs import Manifest, RunFolder
from metagym.runs.earlier_use import keeping_model_calls
from metagym.testing import FakeChatModel
from metagym.types import Action, MetaStep, Observation, Reflection, Step, StopReason, Trajectory
from tests.conftest import MakeGates, make_episode, make_step, make_task, make_trajectory
from tests.report.chromium import browser, show  # noqa: F401 - fixtures

WriteRun = Callable[..., Path]
Report = Callable[..., str]

MAP = {
    "top": 5,
    "left": 30,
    "chars": ["-----", "|.@.|", "|..>|", "-----"],
    "colors": ["77777", "77f77", "77737", "77777"],
    "hero": [6, 32],
}


MAP_TEXT = "Map (rows 5-8, columns 30-34):\n-----\n|.@.|\n|..>|\n-----"


def parts(svg: str, klass: str) -> list[ElementTree.Element]:
    """Return the elements of a class."""
    return [item for item in ElementTree.fromstring(svg).iter() if item.get("class") == klass]


def manifest(**fields: Any) -> Manifest:
    known = {"env_id": "MetaGym/Gates-v0", "reflector": "demo", "seed": 1, "num_steps": 3}
    return Manifest(**{**known, "measurement": {"actor": "demo"}, "arm": "demo", **fields})


@pytest.fixture
def write_run(tmp_path: Path) -> WriteRun:
    """Write a run of one meta-episode: a batch of trajectories for each prompt."""

    def write(batches: Sequence[Sequence[Trajectory]], *, name: str = "run", analysis: str = "", **fields: Any) -> Path:
        with RunFolder.create(tmp_path / name, manifest(**fields)) as run:
            for index, batch in enumerate(batches):
                for trajectory in batch:
                    run.record_episode(trajectory)
                scores = [item.score for item in batch if item.score is not None]
                run.put(
                    index,
                    MetaStep(
                        index=index,
                        prompt=batch[0].episode.prompt,
                        trajectories=tuple(batch),
                        reward=sum(scores) / len(scores) if scores else None,
                    ),
                )
                if index + 1 < len(batches):
                    prompt = batches[index + 1][0].episode.prompt
                    run.put(("", index), Reflection(prompt=prompt, analysis=analysis))
        return tmp_path / name

    return write


def played(number: int, *steps: Step, prompt: str = "Be brave.", meta_step: int = 0, **fields: Any) -> Trajectory:
    """Return an episode on task `number`."""
    known = {"task": make_task(f"law-0000/{number}", seed=number), "meta_step": meta_step}
    episode = make_episode(prompt, **{**known, **fields.pop("episode", {})})
    return make_trajectory(steps or [make_step()], **{"episode": episode, **fields})


def on_map(number: int, *, hero: Sequence[tuple[int, int]] = ((6, 32), (6, 31)), **fields: Any) -> Trajectory:
    """Return an episode on a level of NetHack, one step for each place of the hero."""
    steps = [
        Step(
            observation=Observation(
                text=f"Message: you are at {row}, {column}.\n{MAP_TEXT}\nEnd.",
                goal="Reach the stairs.",
                available_actions=("step e", "step w"),
                display={**MAP, "hero": [row, column]},
            ),
            action=Action(text="step w", thought=f"thought {position}"),
            command="step w",
            is_valid=True,
            reward=0.0,
        )
        for position, (row, column) in enumerate(hero, start=1)
    ]
    return played(number, *steps, **fields)


@pytest.fixture
def learning(write_run: WriteRun) -> Path:
    """A run of three meta-steps: failures, then an invalid action, then success, and one failed episode."""
    old, new, last = (
        "Be brave.",
        "Be brave.\n- when the gate is iron, push",
        "Be careful.\n- when the gate is iron, push",
    )
    invalid = make_step("An oak gate.", None, available_actions=("push", "pull"))
    failed = {"score": None, "success": None, "stop_reason": StopReason.ERROR, "error": "the road is closed"}
    batches = [
        [played(number, prompt=old, success=False, score=0.0) for number in (1, 2)],
        [
            played(3, invalid, make_step("An iron gate.", "push", reward=1.0), prompt=new, meta_step=1),
            played(4, prompt=new, meta_step=1, success=False, score=0.0),
        ],
        [played(5, prompt=last, meta_step=2), played(6, prompt=last, meta_step=2, final_observation=None, **failed)],
    ]
    return write_run(batches, name="learning", analysis="Iron gates want a push.")


@pytest.fixture
def called(make_gates: MakeGates, tmp_path: Path) -> Path:
    """A run of two episodes of two steps, whose actor asks a model, with its log of calls."""
    env = make_gates(ChatActor(FakeChatModel(["Action: push"])), episodes_per_step=2, max_steps=2)
    folder = RunFolder.create(tmp_path / "called", manifest(measurement=env.fingerprint))
    with folder as run, keeping_model_calls(run.path, env.ledger):
        env.record_to(run)
        env.reset(seed=0)
        env.step("Push.")
    return tmp_path / "called"


@pytest.fixture
def with_maps(write_run: WriteRun) -> Path:
    """A run of four episodes on maps."""
    return write_run([[on_map(1), on_map(2)], [on_map(3, meta_step=1), on_map(4, meta_step=1)]], name="maps")


@pytest.fixture(scope="session")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation of two families with its A/A run and a null control, scripted."""
    folder = tmp_path_factory.mktemp("campaign")
    config = EvaluationConfig(
        families=("law-0007", "law-0500"),
        num_steps=3,
        num_seeds=3,
        num_validation=4,
        num_test=4,
        episodes_per_step=3,
    )
    with gymnasium.make("MetaGym/Gates-v0", actor="demo") as env:
        evaluate(env, GatesDemoReflector(), config=config, arm="demo", path=folder / "demo")
        for name in ("same again", "no reflection"):
            arm = control_arm(name, GatesDemoReflector(), families=config.families)
            evaluate(env, arm.reflector, config=config, arm=name, kind=arm.kind, path=folder / name.replace(" ", "-"))
    return folder


@pytest.fixture
def report(tmp_path: Path) -> Report:
    """Write a report, and return the page."""

    pytest.importorskip("jinja2", reason="jinja2 is not installed")

    def write(*runs: Path, **options: Any) -> str:
        make_report(runs, tmp_path / "report.html", **options)
        return (tmp_path / "report.html").read_text(encoding="utf-8")

    return write
