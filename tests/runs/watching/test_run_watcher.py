"""What a watcher sees of one run is what the run folder says of itself."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from metagym.budget import Attempt, AttemptOutcome, CallLog
from metagym.envs.gates.demo import GatesDemoReflector
from metagym.evaluation import EvaluationConfig, evaluate
from metagym.evaluation.constant_prompt import tune_constant_prompt
from metagym.evaluation.extension import extend
from metagym.evaluation.family_stream import evaluate_stream
from metagym.runs import LOG, MANIFEST, TUNED, Manifest, Role, RunFolder
from metagym.runs.running import run_experiment
from metagym.runs.times import TIMES
from metagym.runs.watching import RunState
from metagym.runs.watching.run_watcher import QUIET_S, RunWatcher
from metagym.types import Usage
from tests.conftest import MakeGates, make_trajectory

CONFIG = EvaluationConfig(
    families=("law-0007", "law-0010"), num_steps=2, num_seeds=2, num_validation=3, num_test=4, episodes_per_step=2
)


def look(path: Path, now: float | None = None) -> RunState:
    return RunWatcher(path, "it").look(time.time() if now is None else now)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    manifest = Manifest(env_id="MetaGym/Gates-v0", env_options={"actor": "demo"}, reflector="demo", seed=0, num_steps=3)
    run_experiment(manifest, tmp_path / "run")
    return tmp_path / "run"


def test_a_finished_run_is_seen_as_it_is(run: Path) -> None:
    state = look(run)
    history = RunFolder.open(run).history
    assert (state.status, state.kind, state.environment, state.scripted) == (
        "finished",
        "run",
        "MetaGym/Gates-v0",
        True,
    )
    assert (state.num_meta_steps, state.max_meta_steps) == (3, 3)
    assert (state.num_episodes, state.max_episodes, state.num_failed) == (15, 15, 0)
    assert [curve.online for curve in state.curves] == [tuple(item.reward for item in history)]
    assert state.phase == "meta-step 2"


def test_a_run_read_line_by_line_ends_in_the_same_state(run: Path, tmp_path: Path) -> None:
    whole = (run / LOG).read_bytes().splitlines(keepends=True)
    grown = tmp_path / "grown"
    shutil.copytree(run, grown)
    (grown / LOG).write_bytes(b"")
    watcher = RunWatcher(grown, "it")
    seen = [watcher.look(0.0)]
    for line in whole:
        for part in (line[:7], line[7:]):
            with (grown / LOG).open("ab") as file:
                file.write(part)
            seen.append(watcher.look(0.0))
    at_once = look(run, 0.0)
    of_the_folder = {"path", "idle_s", "summary"}
    assert seen[-1].model_dump(exclude=of_the_folder) == at_once.model_dump(exclude=of_the_folder)
    counts = [state.num_episodes for state in seen]
    assert counts == sorted(counts)
    assert seen[0].status == "stopped"


def test_an_unfinished_run_is_stopped_without_its_writer_and_running_with_it(run: Path) -> None:
    log = run / LOG
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:-2]) + lines[-2][:-10])  # the last meta-step's line is torn
    assert look(run).status == "stopped"
    with RunFolder.open(run, writing=True):
        assert look(run).status == "running"


@pytest.mark.parametrize(("version", "status"), [("0.1.0", "finished"), ("0.2.0", "stopped")])
def test_a_run_needs_its_last_reflection_to_be_finished_except_in_0_1(run: Path, version: str, status: str) -> None:
    log, manifest = run / LOG, run / "manifest.json"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]))
    about = json.loads(manifest.read_text(encoding="utf-8"))
    about["measurement"]["metagym"] = version
    manifest.write_text(json.dumps(about), encoding="utf-8")
    assert look(run).status == status


def test_a_run_that_grows_is_running_though_no_writer_is_seen(run: Path) -> None:
    """The writer may be on another machine."""
    log = run / LOG
    whole = log.read_bytes()
    middle = whole.index(b"\n") + 1
    log.write_bytes(whole[:middle])
    watcher = RunWatcher(run, "it")
    assert watcher.look(1_000.0).status == "stopped"
    log.write_bytes(whole[: whole.index(b"\n", middle) + 1])
    assert watcher.look(1_001.0).status == "running"
    assert watcher.look(1_001.0 + QUIET_S).status == "stopped"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this process lives on, and its files are not seen")
def test_a_run_whose_writer_was_seen_is_stopped_as_soon_as_it_is_gone(run: Path) -> None:
    log = run / LOG
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-2]))
    watcher = RunWatcher(run, "it")
    with RunFolder.open(run, writing=True) as folder:
        watcher.look(1_000.0)
        folder.record_episode(make_trajectory())
        assert watcher.look(1_001.0).status == "running"
    assert watcher.look(1_002.0).status == "stopped"


def test_a_run_that_reached_its_threshold_is_finished(tmp_path: Path) -> None:
    options = {"actor": "demo", "success_threshold": 0.0}
    run_experiment(
        Manifest(env_id="MetaGym/Gates-v0", env_options=options, reflector="demo", seed=0, num_steps=3),
        tmp_path / "run",
    )
    state = look(tmp_path / "run")
    assert (state.status, state.num_meta_steps, state.max_meta_steps) == ("finished", 1, 3)


def test_failed_episodes_are_counted_apart(run: Path) -> None:
    with RunFolder.open(run, writing=True) as folder:
        folder.record_episode(make_trajectory(score=None, stop_reason="error", error="the road is closed"))
    state = look(run)
    assert (state.num_episodes, state.num_failed) == (15, 1)


# Evaluations ------------------------------------------------------------------------------------------


def test_an_evaluations_curves_are_those_of_its_report(make_gates: MakeGates, tmp_path: Path) -> None:
    report = evaluate(make_gates(), "demo", config=CONFIG, path=tmp_path / "run", arm="mine")
    state = look(tmp_path / "run")
    assert (state.status, state.kind) == ("finished", "evaluation")
    assert (state.num_meta_steps, state.max_meta_steps) == (8, 8)
    assert state.num_episodes <= state.max_episodes == 4 * (2 * 2 * 2 + 3 * 3 + 3 * 4)
    assert state.phase in ("test last", "test chosen", "test first")
    assert {curve.family for curve in state.curves} == set(CONFIG.families)
    for curve in state.curves:
        figures = report.families[curve.family]
        assert curve.online == pytest.approx([item.mean for item in figures.online if item])
        assert curve.validation == pytest.approx([item.mean for item in figures.validation if item])
        assert figures.test_chosen is not None
        assert curve.tests[Role.TEST_CHOSEN] == pytest.approx(figures.test_chosen.mean)


def test_an_evaluation_that_is_extended_has_the_size_of_all_its_seeds(make_gates: MakeGates, tmp_path: Path) -> None:
    env = make_gates()
    evaluate(env, GatesDemoReflector(), config=CONFIG, path=tmp_path / "run")
    extend(tmp_path / "run", 3, env=env, reflector=GatesDemoReflector())
    state = look(tmp_path / "run")
    assert (state.status, state.num_meta_steps, state.max_meta_steps) == ("finished", 12, 12)
    assert state.num_episodes <= state.max_episodes == 6 * (2 * 2 * 2 + 3 * 3 + 3 * 4)


def test_an_evaluation_without_a_report_after_its_last_line_is_not_finished(
    make_gates: MakeGates, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    evaluate(make_gates(), "demo", config=CONFIG, path=run)
    with RunFolder.open(run, writing=True) as opened:
        opened.record_episode(make_trajectory())
    assert look(run).status == "stopped"
    evaluate(make_gates(), "demo", config=CONFIG, path=run)  # it plays nothing, and writes the report again
    assert look(run).status == "finished"
    (run / "report.json").unlink()
    assert look(run).status == "stopped"


def test_a_copied_evaluation_stays_finished_whatever_the_times_of_its_files(
    make_gates: MakeGates, tmp_path: Path
) -> None:
    evaluate(make_gates(), "demo", config=CONFIG, path=tmp_path / "run")
    copy = shutil.copytree(tmp_path / "run", tmp_path / "copy")
    os.utime(copy / "report.json", (1.0, 1.0))  # the log was copied after it
    assert look(copy).status == "finished"
    (copy / TIMES).unlink()  # as in a folder of metagym 0.1, whose files alone tell
    assert look(copy).status == "stopped"


def test_the_tuning_of_a_constant_prompt_is_finished_when_its_candidates_are_scored(
    make_gates: MakeGates, tmp_path: Path
) -> None:
    tune_constant_prompt(make_gates(), "demo", config=CONFIG, train_families=["law-0100"], path=tmp_path / "run")
    os.utime(tmp_path / "run" / TUNED, (1.0, 1.0))
    state = look(tmp_path / "run")
    assert state.status == "finished"
    assert state.num_episodes <= state.max_episodes


def test_a_stream_plays_as_many_episodes_as_are_announced(make_gates: MakeGates, tmp_path: Path) -> None:
    evaluate_stream(make_gates(), "demo", config=CONFIG, path=tmp_path / "run")
    state = look(tmp_path / "run")
    assert (state.kind, state.status) == ("stream", "finished")
    assert state.num_episodes == state.max_episodes
    assert state.num_meta_steps == state.max_meta_steps


# Calls ------------------------------------------------------------------------------------------------


def attempt(number: int, outcome: AttemptOutcome, **fields: Any) -> Attempt:
    return Attempt(
        **{"number": number, "role": "actor", "purpose": "learning", "meta_step": 0, "outcome": outcome, **fields}
    )


def test_calls_under_way_have_an_age_and_settled_ones_a_price(run: Path) -> None:
    calls = CallLog(run / "calls.jsonl")
    with RunFolder.open(run, writing=True):
        (run / LOG).write_bytes(b"")  # so that the run goes on
        watcher = RunWatcher(run, "it")
        start = time.time()
        watcher.look(start)
        calls.write(attempt(0, "reserved", model="m", max_tokens=100))
        calls.write(attempt(1, "reserved", role="reflector"))
        watcher.look(start + 1.0)
        usage = Usage(prompt_tokens=5, completion_tokens=2, num_calls=1)
        calls.write(attempt(0, "whole", model="m", usage=usage, cost=0.25))
        state = watcher.look(start + 13.0)
    calls.close()
    assert (state.spent.usage, state.spent.cost) == (usage, 0.25)
    assert [(call.role, call.age_s) for call in state.under_way] == [("reflector", pytest.approx(12.0))]


def test_a_call_that_was_there_before_the_watcher_is_as_old_as_its_file_at_least(run: Path) -> None:
    calls = CallLog(run / "calls.jsonl")
    calls.write(attempt(0, "reserved"))
    calls.close()
    os.utime(run / "calls.jsonl", (1_000.0, 1_000.0))
    (run / LOG).write_bytes(b"")
    assert look(run).under_way == ()  # no process: nothing is waited for
    with RunFolder.open(run, writing=True):
        (call,) = look(run, 1_050.0).under_way
    assert call.age_s == 50.0


# What is broken ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense",
        b"[]",
        b"null",
        b'{"kind":"episode"}',
        b'{"kind":"episode","record":{"episode":{},"score":1.0}}',
        b'{"kind":"meta_step","record":{"index":"x","reward":1}}',
        b'{"kind":"meta_step","record":{"index":0,"reward":"much"}}',
        b'{"kind":"measurement","record":{"family":"f"}}',
        b"\xff\xfe\x00",
    ],
)
def test_a_broken_line_is_counted_and_the_others_are_read(run: Path, line: bytes) -> None:
    log = run / LOG
    log.write_bytes(log.read_bytes() + line + b"\n")
    (run / "calls.jsonl").write_bytes(b'{"number":0,"ro\n')
    state = look(run)
    assert (state.num_episodes, state.problem) == (15, "2 lines cannot be read")


def test_a_manifest_of_another_schema_is_unreadable(run: Path) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "schema_version": 99}))
    state = look(run)
    assert (state.status, state.kind) == ("unreadable", "unreadable")
    assert "schema version 99" in state.problem


def test_a_folder_that_is_replaced_by_another_run_is_read_from_its_start(run: Path, tmp_path: Path) -> None:
    watcher = RunWatcher(run, "it")
    assert watcher.look(0.0).num_episodes == 15
    kept = tmp_path / "kept"
    run.rename(kept)
    gone = watcher.look(1.0)
    assert gone.status == "unreadable"
    assert gone.problem.startswith("The run no longer exists")
    shutil.copytree(kept, run)
    os.utime(run / "manifest.json", (1.0, 1.0))
    (run / LOG).write_bytes(b"".join((kept / LOG).read_bytes().splitlines(keepends=True)[:1]))
    assert watcher.look(2.0).num_episodes == 1


def test_the_age_of_a_run_is_never_negative(run: Path) -> None:
    for name in (LOG, MANIFEST):
        os.utime(run / name, (100.0, 100.0))
    (run / "calls.jsonl").unlink(missing_ok=True)
    assert look(run, 112.0).idle_s == 12.0
    assert look(run, 90.0).idle_s == 0.0  # another machine's clock


def test_a_run_whose_tasks_ran_out_is_finished(tmp_path: Path) -> None:
    rows = tmp_path / "questions.jsonl"
    rows.write_text("".join(json.dumps({"question": f"{n} + 1?", "answer": str(n + 1)}) + "\n" for n in range(40)))
    options = {"actor": "random", "rows": str(rows), "episodes_per_step": 5}
    manifest = Manifest(env_id="MetaGym/Questions-v0", env_options=options, reflector="fixed", seed=0, num_steps=30)
    assert len(run_experiment(manifest, tmp_path / "run").history) < 30
    assert look(tmp_path / "run").status == "finished"
