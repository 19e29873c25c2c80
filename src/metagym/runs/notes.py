"""Notes that people write on episodes: a file of the run folder. They are no records: no figure depends on them."""

from __future__ import annotations

import os
from pathlib import Path

from metagym.errors import ConfigError
from metagym.files import whole_lines
from metagym.runs.folder import RunFolder
from metagym.runs.lines import Key
from metagym.runs.store import writing_to
from metagym.types import Record, Text, digest

NOTES = "notes.jsonl"


class Note(Record):
    """A note on one episode."""

    key: Key
    prompt: Text
    """The digest of the episode's prompt; the key alone is shared by all prompts that were replayed."""
    text: Text


def add_note(run: RunFolder, number: int, text: str) -> None:
    """Append a note on episode `number` of the log, from 0, to the notes of a run.

    Raises:
        ConfigError: there is no such episode.
        RunFolderError: the folder cannot be written.
    """
    name = next((name for name, other in run.numbers.items() if other == number), None)
    if name is None:
        raise ConfigError(f"Expected the number of an episode, from 0 to {run.num_episodes - 1}, got {number}.")
    key, prompt = name
    with writing_to(run.path), (run.path / NOTES).open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # a line that was cut off must not swallow the note
                file.write(b"\n")
        file.write(Note(key=key, prompt=digest(prompt), text=text).model_dump_json().encode() + b"\n")


def read_notes(folder: Path) -> dict[tuple[Key, str], str]:
    """Return the notes of a run by the key and the prompt's digest of their episodes; a broken line is left out."""
    notes: dict[tuple[Key, str], str] = {}
    if not (folder / NOTES).exists():
        return notes
    for _, line in whole_lines(folder / NOTES):
        try:
            note = Note.model_validate_json(line)
        except ValueError:
            continue
        place = (note.key, note.prompt)
        notes[place] = f"{notes[place]}\n{note.text}" if place in notes else note.text
    return notes
