"""`metagym plot`: evaluations with their arms, single runs, and runs that cannot be drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from metagym.errors import ConfigError, RunFolderError
from metagym.evaluation import EvaluationConfig, evaluate
from metagym.evaluation.controls import ArmKind
from metagym.runs import LOG, Manifest
from metagym.runs.running import run_experiment
from tests.cli.conftest import invoke
from tests.conftest import MakeGates

pytest.importorskip("matplotlib")

CONFIG = EvaluationConfig(families=("law-0007",), num_steps=2, num_seeds=2, num_validation=3, num_test=4)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def plot(*arguments: str) -> str:
    return invoke("plot", *arguments).strip()


def play(path: str, *, steps: int = 2) -> None:
    options = {"actor": "demo"}
    run_experiment(
        Manifest(env_id="MetaGym/Gates-v0", env_options=options, reflector="demo", seed=0, num_steps=steps), path
    )


def test_single_runs_are_drawn_in_one_figure(tmp_path: Path) -> None:
    play("a")
    play("b", steps=3)
    assert plot("a", "b", "-o", "a.svg") == "learning curves of 2 runs in a.svg"
    drawn = Path("a.svg").read_text()
    assert "a (SCRIPTED)" in drawn
    assert "b (SCRIPTED)" in drawn


@pytest.mark.slow
def test_the_arms_of_a_campaign_are_drawn_without_the_tuning(make_gates: MakeGates) -> None:
    kinds: dict[str, ArmKind] = {"demo": "method", "no-reflection": "null control", "tuning": "tuning"}
    for arm, kind in kinds.items():
        evaluate(make_gates(), "demo", config=CONFIG, arm=arm, kind=kind, path=f"out/gates-v0-k5/{arm}")
    assert plot("out", "-o", "a.svg") == "learning curves of 2 runs in a.svg"
    assert "null controls (1)" in Path("a.svg").read_text()
    assert plot("out/gates-v0-k5/tuning", "-o", "b.pdf") == "learning curves of 1 run in b.pdf"
    assert Path("b.pdf").read_bytes().startswith(b"%PDF")


def test_arms_of_the_same_name_are_labelled_by_their_folders(make_gates: MakeGates) -> None:
    for path in ("one", "two"):
        evaluate(make_gates(), "demo", config=CONFIG, arm="mine", path=path)
    plot("one", "two", "-o", "a.svg")
    drawn = Path("a.svg").read_text()
    assert ">one<" in drawn
    assert ">two<" in drawn


def test_runs_that_were_not_measured_alike_are_refused_by_name(make_gates: MakeGates) -> None:
    evaluate(make_gates(), "demo", config=CONFIG, arm="a", path="a")
    evaluate(make_gates(), "demo", config=CONFIG.model_copy(update={"num_test": 5}), arm="b", path="b")
    with pytest.raises(ConfigError, match=r"a and b were not measured alike \(.*num_test.*\)"):
        plot("a", "b", "-o", "a.svg")
    play("single")
    with pytest.raises(ConfigError, match=r"either evaluations or single runs, got both: a and single"):
        plot("a", "single", "-o", "a.svg")
    assert not Path("a.svg").exists()


def test_an_evaluation_without_validation_tasks_has_no_curve(make_gates: MakeGates) -> None:
    evaluate(make_gates(), "demo", config=CONFIG.model_copy(update={"num_validation": 0}), path="short")
    with pytest.raises(ConfigError, match=r"short has no learning curve: .* num_validation=0.* metagym show short"):
        plot("short", "-o", "a.svg")


def test_a_run_with_nothing_finished_says_so(make_gates: MakeGates) -> None:
    play("single")
    evaluate(make_gates(), "demo", config=CONFIG, path="evaluation")
    for name, problem in (("single", "no meta-step was finished"), ("evaluation", "no prompt has a validation score")):
        (Path(name) / LOG).write_bytes(b"")
        with pytest.raises(RunFolderError, match=rf"{name} cannot be drawn yet: {problem}.*metagym watch {name}"):
            plot(name, "-o", "a.svg")
    with pytest.raises(RunFolderError, match=r"Expected a run folder .* at nowhere"):
        plot("nowhere", "-o", "a.svg")
    with pytest.raises(ConfigError, match=r"Expected a figure's file to end in"):  # before anything is read
        plot("nowhere", "-o", "a.jpg")
