"""A log agrees with itself: its meta-steps and measurements follow from its episodes, and none is missing."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from metagym.cli import app
from metagym.envs.gates.demo import GatesDemoActor, GatesDemoReflector
from metagym.evaluation import EvaluationConfig, evaluate
from metagym.evaluation.family_stream import evaluate_stream
from metagym.optimizers import BestOfN
from metagym.runs import LOG, MANIFEST, REPORT, Manifest, RunFolder
from metagym.runs.log_check import Difference, log_differences
from metagym.runs.running import run_experiment
from tests.conftest import MakeGates

CONFIG = EvaluationConfig(
    families=("law-0007", "law-0500"), num_steps=3, episodes_per_step=2, num_validation=2, num_test=2, num_seeds=2
)
Line = dict[str, Any]


def differences_in(folder: Path) -> list[Difference]:
    with RunFolder.open(folder) as run:
        return list(log_differences(run, run.trajectories))


def with_lines(folder: Path, to: Path, change: Callable[[list[Line]], list[Line]]) -> Path:
    """Copy a run folder with another log."""
    to.mkdir(exist_ok=True)
    for name in (MANIFEST, REPORT):
        if (folder / name).exists():
            (to / name).write_bytes((folder / name).read_bytes())
    lines = change([json.loads(line) for line in (folder / LOG).read_text().splitlines()])
    (to / LOG).write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    return to


@pytest.fixture
def played(make_gates: MakeGates, tmp_path: Path) -> dict[str, Path]:
    """Evaluations whose prompts repeat, whose last prompt is the chosen one, within a budget, and of a stream."""
    env = make_gates(GatesDemoActor(slip=0.2))
    folders = {name: tmp_path / name for name in ("equal", "last", "budget", "stream")}
    evaluate(env, "fixed", config=CONFIG, path=folders["equal"])
    repeated = CONFIG.model_copy(update={"num_validation": 0, "test_repetitions": 2})
    evaluate(env, GatesDemoReflector(), config=repeated, path=folders["last"])
    evaluate(env, GatesDemoReflector(), config=CONFIG, path=folders["budget"], optimizer=BestOfN(num_steps=3))
    evaluate_stream(env, GatesDemoReflector(), config=CONFIG, path=folders["stream"])
    return folders


def without_line(place: int, lines: list[Line]) -> list[Line]:
    return lines[:place] + lines[place + 1 :]


@pytest.mark.parametrize("name", ["equal", "last", "budget", "stream"])
def test_each_measurement_that_is_missing_is_found(played: dict[str, Path], tmp_path: Path, name: str) -> None:
    assert differences_in(played[name]) == []
    lines = (played[name] / LOG).read_text().splitlines()
    places = [number for number, line in enumerate(lines) if line.startswith('{"kind":"measurement"')]
    for place in places:
        cut = with_lines(played[name], tmp_path / "cut", functools.partial(without_line, place))
        assert [item.field for item in differences_in(cut)] == ["measurement"]


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("scores", lambda scores: [1.0 - score for score in scores]),
        ("num_steps", lambda number: number + 1),
        ("num_invalid", lambda number: number + 1),
        ("usage", lambda usage: {**usage, "num_calls": 1}),
        ("scripted", lambda scripted: not scripted),
    ],
)
def test_each_measurement_that_was_changed_is_found(
    played: dict[str, Path], tmp_path: Path, field: str, change: Callable[[Any], Any]
) -> None:
    def changed(lines: list[Line]) -> list[Line]:
        record = next(line["record"] for line in lines if line["kind"] == "measurement")
        record[field] = change(record[field])
        return lines

    (found,) = differences_in(with_lines(played["equal"], tmp_path / "changed", changed))
    assert (found.task_id, found.step, found.field) == ("law-0007, seed 0, online 0", None, field)


def test_an_evaluation_that_was_stopped_anywhere_lacks_nothing(make_gates: MakeGates, tmp_path: Path) -> None:
    for num in range(1, 100, 9):
        env, seen = make_gates(), list[Any]()

        def stop(trajectory: Any, seen: list[Any] = seen, num: int = num) -> None:
            seen.append(trajectory)
            if len(seen) == num:
                raise KeyboardInterrupt

        env.on_episode = stop
        with pytest.raises(KeyboardInterrupt):
            evaluate(env, GatesDemoReflector(), config=CONFIG, path=tmp_path / str(num))
        assert differences_in(tmp_path / str(num)) == []


def without(kind: str, place: int) -> Callable[[list[Line]], list[Line]]:
    def change(lines: list[Line]) -> list[Line]:
        del lines[[number for number, line in enumerate(lines) if line["kind"] == kind][place]]
        return lines

    return change


def with_reward(reward: float) -> Callable[[list[Line]], list[Line]]:
    def change(lines: list[Line]) -> list[Line]:
        next(line["record"] for line in lines if line["kind"] == "meta_step")["reward"] = reward
        return lines

    return change


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (without("meta_step", 1), ("meta-step 1", "meta_step")),
        (without("meta_step", -1), ("meta-step 2", "meta_step")),
        (without("episode", 0), ("meta-step 0", "episodes")),
        (with_reward(0.125), ("meta-step 0", "reward")),
    ],
)
def test_a_meta_step_that_is_missing_or_changed_fails_the_command(
    tmp_path: Path, change: Callable[[list[Line]], list[Line]], found: tuple[str, str]
) -> None:
    manifest = Manifest(env_id="MetaGym/Gates-v0", env_options={"actor": "demo"}, reflector="demo", seed=3, num_steps=3)
    run_experiment(manifest, tmp_path / "run")
    assert differences_in(tmp_path / "run") == []
    changed = with_lines(tmp_path / "run", tmp_path / "changed", change)
    assert [(item.task_id, item.field) for item in differences_in(changed)] == [found]
    shown = CliRunner().invoke(app, ["verify", str(changed)])
    assert shown.exit_code == 1
    assert f"{found[0]}, {found[1]}:" in shown.output
