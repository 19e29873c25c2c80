"""Folders that metagym 0.1 wrote can still be read: a run, an evaluation and an arena."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

import metagym
from metagym.cli import app
from metagym.errors import RunFolderError
from metagym.evaluation import EvaluationConfig, evaluate
from metagym.evaluation.comparison import differences
from metagym.evaluation.store import read_report
from metagym.report.page import make_report
from metagym.runs import Measurement, RunFolder
from metagym.runs.manifest import read_manifest
from metagym.runs.verification import verify_run
from metagym.runs.watching import Watcher
from metagym.types import Reflection

DATA = Path(__file__).parent / "data" / "metagym-0.1.tar.xz"
"""`run` (2 meta-steps), `evaluation` (2 arms, 2 seeds) and `arena` (2 methods), written by metagym 0.1.0."""
ARENA = "arena/gates-v0-k1"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The folders, unpacked."""
    with tarfile.open(DATA) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.4 and later have filters
        archive.extractall(tmp_path)
    return tmp_path


def command(*words: object) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    return done.output


def test_a_run_gives_its_meta_steps_and_its_reflection(old: Path) -> None:
    with RunFolder.open(old / "run") as run:
        assert [len(meta_step.trajectories) for meta_step in run.history] == [1, 1]
        assert run.history[1].reflection == run.get(Reflection, ("", 0))
        assert run.history[1].prompt.splitlines()[1:] == ["- when the gate is glass, knock"]
    assert verify_run(old / "run").differences == ()


def test_an_evaluation_gives_its_measurements_and_its_report(old: Path) -> None:
    with RunFolder.open(old / "evaluation" / "demo") as run:
        assert {item.role.value for item in run.all(Measurement).values()} == {
            "online", "validation", "test first", "test chosen", "test last",
        }  # fmt: skip
    report = read_report(old / "evaluation" / "demo")
    assert (report.arm, report.num_seeds, list(report.families)) == ("demo", 2, ["law-0007"])


def test_resuming_is_refused_with_both_versions_and_the_remedy(old: Path) -> None:
    folder = old / "evaluation" / "demo"
    manifest = read_manifest(folder)
    assert manifest.evaluation is not None
    config = EvaluationConfig.model_validate(manifest.evaluation["config"])
    with metagym.make(manifest.env_id, **manifest.env_options) as env:
        refusal = rf"metagym: was '0.1.0', is '{metagym.__version__}'.*Start a new run"
        with pytest.raises(RunFolderError, match=refusal):
            evaluate(env, "demo", config=config, arm="demo", path=folder)
        new = evaluate(env, "demo", config=config)
    found = [line.partition(" ")[0] for line in differences(read_report(folder), new)]
    assert [name for name in found if not name.startswith("packages.")] == ["metagym"]


@pytest.mark.parametrize("name", ["run", "evaluation/demo", f"{ARENA}/ict"])
def test_the_command_line_shows_each_of_them(old: Path, name: str) -> None:
    assert "SCRIPTED" in command("show", old / name)


def test_the_command_line_lists_and_compares_them(old: Path) -> None:
    listed = command("runs", old, "--json")
    assert listed.count('"MetaGym/Gates-v0"') == 5
    assert "no difference shown between demo and no reflection" in command("compare", old / "evaluation")


def test_the_report_shows_all_of_them_and_the_standings(old: Path) -> None:
    pytest.importorskip("jinja2", reason="needs the extra report")
    made = make_report([old], old / "report.html")
    assert (made.num_runs, made.problems) == (5, ())
    assert "<caption>Standings" in made.path.read_text(encoding="utf-8")


def test_a_finished_run_is_seen_as_finished(old: Path) -> None:
    """In 0.1 no reflection came after the last meta-step."""
    states = {state.name: state.status for state in Watcher(old / "run").look(0.0).runs}
    assert states == {"run": "finished"}
