"""The run folder: append-only, torn at most in its last line, resumed exactly, killed or not."""

from __future__ import annotations

import json
import logging
from collections import Counter
from pathlib import Path

import pytest

from metagym.errors import RunFolderError
from metagym.runs import LOG, MANIFEST, RunFolder
from metagym.runs.running import run_experiment
from metagym.types import SCHEMA_VERSION, Reflection
from tests.conftest import (
    MakeGates,
    make_episode,
    make_meta_step,
    make_task,
    make_trajectory,
)
from tests.runs.conftest import lines_of, manifest

# Writing ----------------------------------------------------------------------------------------------


def test_the_manifest_is_written_before_the_first_episode(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "run", manifest()).close()
    assert RunFolder.open(tmp_path / "run").manifest == manifest()
    assert not (tmp_path / "run" / LOG).exists()


def test_the_log_has_a_line_for_each_episode_reflection_and_meta_step(finished: Path) -> None:
    assert Counter(line["kind"] for line in lines_of(finished)) == {"episode": 12, "meta_step": 4, "reflection": 4}


def test_the_manifest_holds_both_fingerprints_and_says_who_played(finished: Path) -> None:
    read = RunFolder.open(finished).manifest
    assert read.measurement["environment"] == "metagym.envs.gates.meta:GatesMetaEnv"
    assert read.arm == {"kind": "GatesDemoReflector"}
    assert read.scripted


def test_the_keys_name_all_episodes_and_choose_which_are_read(finished: Path) -> None:
    with RunFolder.open(finished) as run:
        assert run.keys == tuple(item.episode.key for item in run.trajectories)
        chosen = run.keys[3:5]
        assert [item.episode.key for item in run.episodes(chosen.__contains__)] == list(chosen)
        assert run.all(Reflection) == {("", index): item for index, item in enumerate(run.all(Reflection).values())}


def test_an_episode_is_in_the_log_as_soon_as_it_finished(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "run", manifest()) as run:
        run.record_episode(make_trajectory())
        assert RunFolder.open(tmp_path / "run").num_episodes == 1


def test_an_existing_run_is_refused_with_the_remedy(finished: Path) -> None:
    with pytest.raises(RunFolderError, match=r"already holds a run. Resume it \(metagym resume .*\), or name"):
        RunFolder.create(finished, manifest())


def test_a_log_whose_manifest_is_lost_is_refused_and_stays_as_it_is(finished: Path) -> None:
    (finished / MANIFEST).unlink()
    before = (finished / LOG).read_bytes()
    with pytest.raises(RunFolderError, match=r"holds the log of a run without its manifest.json. Put that file back"):
        RunFolder.create(finished, manifest())
    assert not (finished / MANIFEST).exists()
    assert (finished / LOG).read_bytes() == before


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunFolderError, match=r"Expected a folder that can be written at"):
        RunFolder.create(tmp_path / "file" / "run", manifest())


def test_close_twice_is_fine(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", manifest())
    run.record_episode(make_trajectory())
    run.close()
    run.close()


# Reading ----------------------------------------------------------------------------------------------


def test_the_history_comes_back_whole(tmp_path: Path) -> None:
    result = run_experiment(manifest(), tmp_path / "run")
    assert RunFolder.open(tmp_path / "run").history == result.history


def test_any_text_comes_back(tmp_path: Path) -> None:
    text = "é \u2028 \ud800 \r\n \x00 \x85"
    with RunFolder.create(tmp_path / "run", manifest()) as run:
        run.record_episode(make_trajectory(episode=make_episode(text), stop_detail=text))
        run.put(("", 0), Reflection(prompt=text))
        run.put(0, make_meta_step([make_trajectory(episode=make_episode(text))], prompt=text))
    again = RunFolder.open(tmp_path / "run")
    assert again.history[0].prompt == make_meta_step(prompt=text).prompt
    assert again.get(Reflection, ("", 0)) == Reflection(prompt=text)


def test_a_torn_last_line_is_dropped_with_a_notice(finished: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = finished / LOG
    log.write_bytes(log.read_bytes()[:-10])
    with caplog.at_level(logging.WARNING):
        run = RunFolder.open(finished)
    assert "The last line" in caplog.text
    assert "was torn by a crash; it is dropped" in caplog.text
    assert len(run.history) == 4
    assert run.get(Reflection, ("", 3)) is None


@pytest.mark.parametrize(
    "line",
    [
        "not JSON\n",
        "{}\n",
        "[]\n",
        '{"kind":"episode","record":[]}\n',
        "\n",
        '{"kind":"odd","record":{}}\n',
        '{"kind":"episode","record":{"a":1}}\n',
    ],
)
def test_a_broken_line_inside_is_an_error_that_names_it(finished: Path, line: str) -> None:
    log = finished / LOG
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
    log.write_text("".join([*lines[:4], line, *lines[4:]]), encoding="utf-8")
    with pytest.raises(RunFolderError, match=r"(?s)Line 5 of .*log.jsonl is broken: .*metagym repair"):
        RunFolder.open(finished)


def test_bytes_that_are_no_utf_8_are_an_error_that_names_the_line(finished: Path) -> None:
    with (finished / LOG).open("ab") as log:
        log.write(b"\xff\xfe\n")
    with pytest.raises(RunFolderError, match=r"Line 21 of .* is broken"):
        RunFolder.open(finished)


def test_a_manifest_of_a_newer_schema_is_an_error(finished: Path) -> None:
    path = finished / MANIFEST
    newer = {**json.loads(path.read_text()), "schema_version": SCHEMA_VERSION + 1}
    path.write_text(json.dumps(newer))
    with pytest.raises(RunFolderError, match=r"has schema version 2, this metagym reads 1. Install the version"):
        RunFolder.open(finished)


def test_a_line_of_a_newer_schema_is_an_error(finished: Path) -> None:
    log = finished / LOG
    log.write_text(
        log.read_text(encoding="utf-8").replace('"schema_version":1', '"schema_version":2', 1), encoding="utf-8"
    )
    with pytest.raises(RunFolderError, match=r"(?s)Line 1 .*schema_version"):
        RunFolder.open(finished)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"schema_version": 1}', b"\x00", b"\xff\xfe"])
def test_a_broken_manifest_is_an_error(tmp_path: Path, text: bytes) -> None:
    (tmp_path / MANIFEST).write_bytes(text)
    with pytest.raises(RunFolderError, match=r"manifest.json is broken|has schema version"):
        RunFolder.open(tmp_path)


def test_a_log_that_cannot_be_read_is_an_error(finished: Path) -> None:
    (finished / LOG).unlink()
    (finished / LOG).mkdir()
    with pytest.raises(RunFolderError, match=r"Expected a log that can be read at .*log.jsonl"):
        RunFolder.open(finished, writing=True)
    (finished / LOG).rmdir()
    RunFolder.open(finished, writing=True).close()  # the lock was given back


def test_a_history_whose_episodes_were_removed_says_which(finished: Path) -> None:
    lines = (finished / LOG).read_bytes().splitlines(keepends=True)
    (finished / LOG).write_bytes(b"".join(line for line in lines if not line.startswith(b'{"kind":"episode"')))
    with RunFolder.open(finished) as run, pytest.raises(RunFolderError, match=r"names the episode .* in meta-step 0"):
        run.history  # noqa: B018
    run_experiment(manifest(), finished, resume=True)
    with RunFolder.open(finished) as run:
        assert [len(item.trajectories) for item in run.history] == [3] * 4


def test_a_name_that_is_too_long_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"Expected a folder that can be written at"):
        RunFolder.create(tmp_path / ("x" * 300), manifest())


def test_a_folder_without_a_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"Expected a run folder \(one with manifest.json in it\) at"):
        RunFolder.open(tmp_path / "nowhere")


# Fingerprints and recall ------------------------------------------------------------------------------


def test_an_equal_fingerprint_passes(finished: Path) -> None:
    run = RunFolder.open(finished)
    run.check_fingerprints(run.manifest.measurement, run.manifest.arm)


def test_what_differs_in_the_fingerprint_is_named(finished: Path) -> None:
    run = RunFolder.open(finished)
    with pytest.raises(RunFolderError, match=r"\(max_steps: was 25, is 7\). Start a new run"):
        run.check_fingerprints({**run.manifest.measurement, "max_steps": 7}, run.manifest.arm)
    with pytest.raises(RunFolderError, match=r"reflector: was \{'kind': 'GatesDemoReflector'\}, is 'other'"):
        run.check_fingerprints(run.manifest.measurement, "other")


def test_what_is_missing_in_the_fingerprint_is_named(finished: Path) -> None:
    run = RunFolder.open(finished)
    with pytest.raises(RunFolderError, match=r"new: was None, is 1"):
        run.check_fingerprints({**run.manifest.measurement, "new": 1}, run.manifest.arm)


def test_an_episode_is_recalled_by_its_key_and_only_if_it_is_the_same(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "run", manifest()) as run:
        episode = make_episode(seed=1)
        run.record_episode(make_trajectory(episode=episode))
        assert run.recall_episode(episode) == make_trajectory(episode=episode)
        assert run.recall_episode(make_episode("Another prompt.", seed=1)) is None
        assert run.recall_episode(make_episode(seed=1, meta_step=1)) is None
        assert run.recall_episode(make_episode(seed=1, task=make_task("other"))) is None
        with pytest.raises(
            RunFolderError,
            match=r"holds another episode on the task 'law-0000/1' of meta-step 0: its task or its seed differs",
        ):
            run.recall_episode(make_episode(seed=2))


def test_a_meta_step_is_logged_once_and_another_one_in_its_place_is_refused(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "run", manifest()) as run:
        run.put(0, make_meta_step())
        run.put(0, make_meta_step())
        with pytest.raises(RunFolderError, match=r"holds a different meta-step 0, so the run did not repeat itself"):
            run.put(0, make_meta_step(reward=0.5))
    assert len(lines_of(tmp_path / "run")) == 1


def test_a_failed_episode_is_not_recalled(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "run", manifest()) as run:
        run.record_episode(make_trajectory(score=None))
        assert run.recall_episode(make_episode()) is None
        run.record_episode(make_trajectory())
        assert run.recall_episode(make_episode()) == make_trajectory()


def test_replay_is_recorded_too(tmp_path: Path, make_gates: MakeGates) -> None:
    env = make_gates()
    with RunFolder.create(tmp_path / "run", manifest()) as run:
        env.record_to(run)
        env.replay(["p", "q"], ["law-0001/1"], repetitions=2)
    assert RunFolder.open(tmp_path / "run").num_episodes == 4


def test_two_replays_of_other_prompts_within_a_meta_step_are_both_recorded(
    tmp_path: Path, make_gates: MakeGates
) -> None:
    env = make_gates()
    with RunFolder.create(tmp_path / "run", manifest()) as run:
        env.record_to(run)
        env.replay(["p"], ["law-0001/1"])
        env.replay(["q"], ["law-0001/1"])
    assert len(lines_of(tmp_path / "run")) == 2
