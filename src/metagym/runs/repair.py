"""Repair a run folder: set broken lines and damaged replies aside, keep the rest, and report the loss.

What cannot be read is written beside its file (`log.jsonl.removed`) before the file is replaced, so that a crash in
between loses nothing.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import pydantic_core

from metagym.budget import Attempt
from metagym.errors import ConfigError, ModelUnavailableError, RunFolderError
from metagym.files import quoted, write_whole
from metagym.models import Cassette
from metagym.rendering import plural
from metagym.runs.folder import CALLS, LOG, REPLIES, REPORT
from metagym.runs.journal import Journal
from metagym.runs.lines import OtherSchemaError, read_line
from metagym.runs.manifest import read_manifest
from metagym.types import Record, Text, Texts

REMOVED = ".removed"
"""Ends the name of the file that holds the parts of another one that cannot be read."""
_KIND = re.compile(rb'^\{"kind": ?"(\w+)"')
LOSSES = {
    "episode": "an episode: it is played again",
    "reflection": "a reflection: it is made again; if the next meta-step was played, its prompt is kept",
    "meta_step": "the summary of a meta-step: it is made again from its episodes",
    "measurement": "a measurement: it is made again from its episodes",
    "learned": "the summary of a meta-episode: it is made again",
    "copies": "the copies that were found in a learned prompt: they are looked for again",
    "added_seeds": "the decision to add seeds: the look still counts if one of them was measured",
    "call": "the count of a model call: the budget does not know of it any more",
    "reply": "a recorded reply: the model is asked, and paid, again, if the log does not hold what it was for",
    "torn": "the end of a line that a crash tore",
    "report": "the report: it is made again",
}
"""What a missing line of each kind means when the run is resumed."""
UNKNOWN_LOSS = "a line that says nothing: if it was an episode or a reflection, it is made again"
NEEDS_MODELS = ("episode", "reflection", "")
"""The kinds of lines that a resume asks models for again; an unknown line may be one of them."""


class Removed(Record):
    """Something that was taken out of a file."""

    file: Text
    line: int | None
    """The number of the line, from 1; None in a file without lines."""
    lost: Text
    """The removed record, and the effect of its loss."""
    problem: Text
    """Why it cannot be read."""


class Repair(Record):
    """The result of a repair."""

    removed: tuple[Removed, ...]
    written: Texts
    """The files with the removed records."""
    num_kept: int
    """Lines of the log that were kept."""
    resume: Text
    """How the run is resumed."""


def repair_run(path: str | Path) -> Repair:
    """Take everything out of the run folder at `path` that cannot be read, and write it beside its file.

    Raises:
        RunFolderError: there is no run, its manifest is broken, another version wrote it, or it has a writer.
    """
    path = Path(path)
    manifest = read_manifest(path)
    with contextlib.closing(Journal(path / LOG)) as journal:
        journal.lock()
        try:
            replies, num_replies = _repair_cassette(path / REPLIES)
            price = _price(num_replies, asked_models=(path / CALLS).exists())
            log, num_kept = _repair_lines(path / LOG, read_line, _kind_of, price)
            calls, _ = _repair_lines(path / CALLS, Attempt.model_validate_json, lambda line: "call")
            removed = [*log, *calls, *replies, *_repair_report(path / REPORT)]
        except OtherSchemaError as error:
            raise RunFolderError(f"{path} was written by another version: {error}. Install that version.") from error
        except OSError as error:
            raise RunFolderError(f"Expected a run folder that can be written to at {path}: {error}.") from error
    resume = (
        f"metagym resume {quoted(path)}"
        if manifest.kind == "run"
        else "give the command again that began it, or that extended it"
    )
    files = dict.fromkeys(f"{path / item.file}{REMOVED}" for item in removed)
    return Repair(removed=tuple(removed), written=tuple(files), num_kept=num_kept, resume=resume)


def _price(num_replies: int, *, asked_models: bool) -> str:
    """Return the cost of making a line again that models have a part in."""
    if num_replies:
        return f". {plural(num_replies, 'reply')} are recorded: models are asked, and paid, for others only"
    return ". No reply is recorded: models are asked, and paid, again" if asked_models else ""


def _repair_lines(
    file: Path, read: Callable[[bytes], object], kind_of: Callable[[bytes], str], price: str = ""
) -> tuple[list[Removed], int]:
    if not file.exists():
        return [], 0
    kept, bad, removed = list[bytes](), list[bytes](), list[Removed]()
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            problem, kind = "it has no end", "torn"
            if line.endswith(b"\n"):
                try:
                    read(line)
                except OtherSchemaError:
                    raise
                except ValueError as error:
                    problem, kind = str(error).partition("\n")[0], kind_of(line)
                else:
                    kept.append(line)
                    continue
            bad.append(line if line.endswith(b"\n") else line + b"\n")
            lost = LOSSES.get(kind, UNKNOWN_LOSS) + (price if kind in NEEDS_MODELS else "")
            removed.append(Removed(file=file.name, line=number, lost=lost, problem=problem))
    if bad:
        with Path(f"{file}{REMOVED}").open("ab") as aside:
            aside.writelines(bad)
        write_whole(file, b"".join(kept))
    return removed, len(kept)


def _kind_of(line: bytes) -> str:
    found = _KIND.match(line)
    return found[1].decode() if found else ""


def _repair_cassette(file: Path) -> tuple[list[Removed], int]:
    """Return the removed records, and the number of replies that are left."""
    if not file.exists():
        return [], 0
    try:
        with contextlib.closing(Cassette(file)) as cassette:
            rows = cassette.damaged()
            if rows:
                with Path(f"{file}{REMOVED}").open("a", encoding="utf-8") as aside:
                    aside.writelines(json.dumps(row, default=repr) + "\n" for row in rows)
                cassette.remove([row[0] for row in rows])
            num_left = len(cassette)
        problem, count = "its checksum does not fit", len(rows)
        return [Removed(file=file.name, line=None, lost=LOSSES["reply"], problem=problem)] * count, num_left
    except (ConfigError, ModelUnavailableError) as error:
        _move_aside(file)
        lost = "all recorded replies: models are asked, and paid, again for what is not in the log"
        return [Removed(file=file.name, line=None, lost=lost, problem=str(error))], 0


def _repair_report(file: Path) -> list[Removed]:
    if not file.exists():
        return []
    try:
        pydantic_core.from_json(file.read_bytes())
    except ValueError as error:
        _move_aside(file)
        return [Removed(file=file.name, line=None, lost=LOSSES["report"], problem=str(error))]
    return []


def _move_aside(file: Path) -> None:
    for ending in ("", "-wal", "-shm"):  # the files that SQLite keeps beside its own
        with contextlib.suppress(FileNotFoundError):
            Path(f"{file}{ending}").replace(f"{file}{ending}{REMOVED}")
