"""The recorded run in the package: a language model made it, and it plays again to the byte."""

from __future__ import annotations

from pathlib import Path

from metagym.runs import RunFolder
from metagym.runs.recording import REPLIES, digest_of, read_recording, recorded_replies
from metagym.runs.running import run_experiment


def test_the_recorded_run_plays_again_to_the_byte(tmp_path: Path) -> None:
    recording = read_recording()
    with recorded_replies():
        run_experiment(recording.manifest, tmp_path / "run")
    history = RunFolder.open(tmp_path / "run").history
    assert digest_of(history) == recording.digest, "run tools/record_run.py again, if this change is meant"
    assert len(history) == recording.manifest.num_steps
    assert not any(meta_step.scripted for meta_step in history)
    assert all(step.action.completion for item in history[0].trajectories for step in item.steps)


def test_the_recording_is_small() -> None:
    assert REPLIES.stat().st_size < 2**20
