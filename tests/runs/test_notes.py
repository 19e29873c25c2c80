"""Notes on episodes: kept beside the records, under the number that the log gives an episode."""

from __future__ import annotations

from pathlib import Path

import pytest

from metagym.errors import ConfigError
from metagym.runs import RunFolder
from metagym.runs.notes import NOTES, add_note, read_notes
from metagym.types import digest


def test_notes_on_an_episode_are_joined_and_leave_the_records_as_they_are(finished: Path) -> None:
    before = {file.name: file.read_bytes() for file in finished.iterdir()}
    with RunFolder.open(finished) as run:
        add_note(run, 5, "first")
        add_note(run, 5, "second")
        episode = list(run.episodes())[5].episode
    assert read_notes(finished) == {(episode.key, digest(episode.prompt)): "first\nsecond"}
    assert {file.name: file.read_bytes() for file in finished.iterdir() if file.name != NOTES} == before


def test_a_broken_note_hides_no_other(finished: Path) -> None:
    with RunFolder.open(finished) as run:
        add_note(run, 0, "kept")
    with (finished / NOTES).open("a") as file:
        file.write("{}\n")
    assert list(read_notes(finished).values()) == ["kept"]


def test_an_episode_that_does_not_exist_is_an_error(finished: Path) -> None:
    with (
        RunFolder.open(finished) as run,
        pytest.raises(ConfigError, match=r"number of an episode, from 0 to 11, got 12"),
    ):
        add_note(run, 12, "too far")


def test_a_note_that_was_cut_off_swallows_no_later_one(finished: Path) -> None:
    (finished / NOTES).write_text('{"key":')
    with RunFolder.open(finished) as run:
        add_note(run, 0, "kept")
    assert list(read_notes(finished).values()) == ["kept"]
