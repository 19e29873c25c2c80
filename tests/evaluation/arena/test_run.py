"""The arena: equal budgets, the same tasks in all arms, and a killed one gives the same table."""

from __future__ import annotations

import importlib.util
import random
import signal
from pathlib import Path

import pytest

from metagym.budget import Budget
from metagym.errors import ConfigError, UnknownNameError
from metagym.evaluation.arena import Bout, Entrant, run_arena
from metagym.evaluation.arena.run import arena_config
from metagym.evaluation.comparison import compare
from metagym.evaluation.config import EvaluationConfig
from metagym.evaluation.preset import Preset, load_preset
from metagym.evaluation.store import read_report
from metagym.optimizers import InTurn
from metagym.reflectors import as_reflector
from metagym.runs import RunFolder
from tests.conftest import run_python
from tests.evaluation.conftest import write_preset

DEMO = {"model": "demo"}
ARMS = [
    "fixed",
    "ict",
    "training_free_grpo_style",
    "best_of_n(ict)",
    "same again (ict)",
    "empty experience (ict)",
]  # fmt: skip


def test_each_method_and_control_is_an_evaluated_arm_in_a_folder_of_its_own(bout: Bout) -> None:
    assert [report.arm for report in bout.reports] == ARMS
    folders = sorted(path.name for path in bout.folder.iterdir() if path.is_dir())
    assert folders == [
        "best_of_n-ict",
        "empty-experience-ict",
        "fixed",
        "ict",
        "same-again-ict",
        "training_free_grpo_style",
    ]
    assert read_report(bout.folder / "ict") == bout.reports[1]
    # `metagym compare` reads them.
    (found,) = compare([read_report(bout.folder / "ict"), read_report(bout.folder / "fixed")], endpoint="last")
    assert found.difference is not None
    assert found.num_dropped == 0


def test_all_arms_have_the_same_budget_and_none_passes_it(bout: Bout) -> None:
    for report in bout.reports:
        assert report.config.learning_budget == Budget(episodes=6)
        assert len(report.learned) == 6
        assert max(item.total.episodes for item in report.learned) <= 6
    by_arm = {report.arm: report for report in bout.reports}
    assert {item.num_meta_steps for item in by_arm["ict"].learned} == {3}
    # It plays groups of its own on the same account, and so gets fewer meta-steps.
    assert {item.num_meta_steps for item in by_arm["training_free_grpo_style"].learned} == {1}
    assert all(item.stopped for item in by_arm["training_free_grpo_style"].learned)


def test_all_arms_learn_on_the_same_batches_and_are_tested_on_the_same_tasks(bout: Bout) -> None:
    first: dict[str, object] = {}
    for report, folder in zip(bout.reports, ("fixed", "ict"), strict=False):
        with RunFolder.open(bout.folder / folder) as run:
            first[report.arm] = {
                (item.episode.arm.split("/", 1)[1], item.episode.meta_step, item.task.digest)
                for item in run.episodes()
                if item.task.split == "train"
            }
    assert first["fixed"] == first["ict"]
    tests = [{(item.family, item.seed, item.task_ids) for item in report.tests} for report in bout.reports]
    assert all(other == tests[0] for other in tests)


def test_the_meta_steps_are_what_the_budgets_episodes_cover() -> None:
    config = EvaluationConfig(num_steps=4, episodes_per_step=5)
    for budget, episodes, num_steps in (
        (None, 20, 4),
        (Budget(tokens=9), 20, 4),
        (Budget(episodes=33), 33, 6),
        (Budget(episodes=3), 3, 1),
    ):
        own = arena_config(config, budget)
        assert own.learning_budget is not None
        assert (own.learning_budget.episodes, own.num_steps) == (episodes, num_steps)
        assert "hands over" in own.primary_endpoint


def test_your_own_method_takes_part(preset: Preset, tmp_path: Path) -> None:
    mine = Entrant("mine", as_reflector(lambda history: "Walk."), InTurn(3))
    alone = preset.model_copy(update={"controls": ()})
    (found,) = run_arena(alone, ["fixed", mine], actor="demo", path=tmp_path / "out")
    assert [row.arm for row in found.standings.rows] == ["fixed", "mine"]


def test_without_validation_tasks_the_standings_are_the_same_and_there_are_no_curves(
    preset: Preset, tmp_path: Path
) -> None:
    rows = []
    for name, num_validation in (("with", 4), ("without", 0)):
        small = preset.model_copy(update={"controls": (), "num_validation": num_validation})
        (found,) = run_arena(small, ["fixed", "demo"], actor="demo", path=tmp_path / name)
        rows.append(found.standings.rows)
        assert bool(found.standings.curves) == (num_validation > 0)
    assert not (found.folder / "arena.png").exists()
    assert rows[0] == rows[1]


def test_each_method_has_a_long_and_a_constant_prompt_of_its_own(preset: Preset, tmp_path: Path) -> None:
    update = {"num_seeds": 1, "num_steps": 2, "controls": ("long prompt", "constant prompt")}
    small = preset.model_copy(update=update)

    def prompts_of_controls(method: str, out: str) -> list[str]:
        (found,) = run_arena(small, ["fixed", method], actor="demo", model=DEMO, path=tmp_path / out)
        return [report.prompts[0].last_prompt for report in found.reports[2:]]

    assert prompts_of_controls("reflexion_style", "one") != prompts_of_controls("opro_style", "two")
    assert prompts_of_controls("opro_style", "one") == prompts_of_controls("opro_style", "two")


@pytest.mark.skipif(importlib.util.find_spec("gepa") is None, reason="needs the extra metagym[gepa]")
def test_gepa_has_each_control(preset: Preset, tmp_path: Path) -> None:
    controls = ("no reflection", "empty experience", "long prompt")
    small = preset.model_copy(update={"num_seeds": 1, "controls": controls, "budget": Budget(episodes=30)})
    (found,) = run_arena(small, ["gepa"], actor="demo", model=DEMO, path=tmp_path / "out")
    by_arm = {report.arm: report for report in found.reports}
    assert list(by_arm) == ["fixed", "gepa", *(f"{name} (gepa)" for name in controls)]
    prompts = {name: {item.last_prompt for item in report.prompts} for name, report in by_arm.items()}
    assert prompts["no reflection (gepa)"] == prompts["fixed"]
    assert prompts["empty experience (gepa)"] != prompts["gepa"]
    assert all(report.learned[0].total.episodes for report in found.reports)


def test_nothing_is_played_if_something_is_missing(preset: Preset, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Unknown reflector 'itc'"):
        run_arena(preset, ["itc"], actor="demo", path=tmp_path / "out")
    strange = preset.model_copy(update={"controls": ("nothing",)})
    with pytest.raises(UnknownNameError, match="Unknown control 'nothing'"):
        run_arena(strange, ["fixed"], actor="demo", path=tmp_path / "out")
    fixed = Entrant("fixed", as_reflector(lambda history: "Walk."), InTurn(3))
    with pytest.raises(ConfigError, match="Expected methods whose names give different folders, got fixed"):
        run_arena(preset, [fixed], actor="demo", path=tmp_path / "out")
    with pytest.raises(
        ConfigError, match=r"Expected a preset of the protocol 'ict' for the arena, got 'stream' \(stream\)"
    ):
        run_arena(load_preset("stream"), ["fixed"], actor="demo", path=tmp_path / "out")
    assert not list(tmp_path.glob("out/**/log.jsonl"))


RUN = """
import os, signal, sys
from metagym.runs import journal
from metagym.actor import ChatActor
from metagym.evaluation.arena import run_arena
from metagym.evaluation.preset import load_preset
from metagym.budget import Budget
from metagym.testing import FakeChatModel
from tests.evaluation.conftest import METHODS

left, write = int(sys.argv[3]), journal._write_all

def mortal(handle, data):
    global left
    content = bytes(data)[:max(left, 1)]
    os.write(handle, content)
    left -= len(content)
    if left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)

journal._write_all = mortal
actor, limits = "demo", {"episodes": 6, "tokens": 4_000}
if sys.argv[4] == "chat":
    model = FakeChatModel(["Action: knock", "Action: push", "Action: pull"])
    model.max_reply_tokens = 20
    actor, limits = ChatActor(model), {"episodes": 6, "tokens": 9_000}
update = {"budget": Budget(**limits), "controls": ("same again",)}
preset = load_preset(sys.argv[1]).model_copy(update=update)
run_arena(preset, METHODS, actor=actor, model={"model": "demo"}, path=sys.argv[2])
"""
WRITTEN = ("arena.json", "arena.md", "arena.csv")


def run_until(preset: Path, out: Path, num_bytes: int, actor: str) -> int:
    done = run_python(RUN, str(preset), str(out), str(num_bytes), actor, cwd=Path(__file__).parents[3])
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def kill_and_resume(folder: Path, actor: str, num_kills: int) -> None:
    """The tables of a killed arena are those of an uninterrupted one, to the byte."""
    preset, whole, cut = write_preset(folder), folder / "whole", folder / "cut"
    assert run_until(preset, whole, 10**9, actor) == 0
    size = sum(path.stat().st_size for path in whole.glob("*/*/log.jsonl"))
    rng = random.Random(0)
    moments = [rng.randrange(size // (2 * num_kills), size // num_kills - 1) for _ in range(num_kills)]
    assert {run_until(preset, cut, moment, actor) for moment in moments} == {-signal.SIGKILL}
    assert run_until(preset, cut, 10**9, actor) == 0
    for name in WRITTEN:
        assert (cut / "gates-v0-k2" / name).read_text() == (whole / "gates-v0-k2" / name).read_text()
    reports = [read_report(path) for path in whole.glob("*/*/") if path.is_dir()]
    # The budget in tokens gave out in some of them: in the killed run at the same places.
    assert any("tokens" in item.stopped for report in reports for item in report.learned)


@pytest.mark.slow
def test_an_arena_killed_with_9_gives_the_tables_of_an_uninterrupted_one(tmp_path: Path) -> None:
    kill_and_resume(tmp_path, "demo", 1)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_arena_over_a_chat_model_killed_five_times_gives_the_same_tables(tmp_path: Path) -> None:
    kill_and_resume(tmp_path, "chat", 5)
