"""A repair keeps what can be read, loses nothing without a word, and leaves a run that resumes to the same result."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metagym.errors import RunFolderError
from metagym.models import Cassette
from metagym.runs import LOG, MANIFEST, RunFolder
from metagym.runs.folder import CALLS, REPLIES, REPORT
from metagym.runs.lines import KINDS
from metagym.runs.repair import LOSSES, REMOVED, repair_run
from metagym.runs.running import run_experiment
from metagym.testing import ServerReply
from metagym.types import Trajectory
from tests.conftest import Serve
from tests.runs.conftest import lines_of, manifest

Spoil = Callable[[bytes], bytes]
SPOILS: dict[str, Spoil] = {
    "no JSON": lambda line: b"garbage\n",
    "empty": lambda line: b"\n",
    "cut": lambda line: line[: len(line) // 2] + b"\n",
    "no UTF-8": lambda line: line[:20] + b"\xff\xfe" + line[20:],
    "deep": lambda line: b"[" * 4_000 + b"\n",
    "without a field": lambda line: line.replace(b'"index"', b'"indx"').replace(b'"steps"', b'"stps"'),
    "a text for a number": lambda line: line.replace(b'"reward":', b'"reward":"much",'),
    "zeros": lambda line: b"\x00" * 400 + b"\n",
}


def spoil(path: Path, name: str, *numbers: int, file: str = LOG) -> list[bytes]:
    lines = (path / file).read_bytes().splitlines(keepends=True)
    bad = [SPOILS[name](lines[number - 1]) for number in numbers]
    for number, line in zip(numbers, bad, strict=True):
        lines[number - 1] = line
    (path / file).write_bytes(b"".join(lines))
    return bad


def prompts_and_rewards(path: Path) -> Any:
    with RunFolder.open(path) as run:
        return [(item.prompt, item.reward, len(item.trajectories)) for item in run.history]


@pytest.mark.parametrize("name", [name for name in SPOILS if name != "a text for a number"])
@pytest.mark.parametrize("number", [1, 4, 5])
def test_a_bad_line_is_named_set_aside_and_made_again(finished: Path, name: str, number: int) -> None:
    """Line 1 is an episode, line 4 the meta-step, line 5 its reflection."""
    before = prompts_and_rewards(finished)
    (bad,) = spoil(finished, name, number)
    with pytest.raises(RunFolderError, match=rf"Line {number} of .*log.jsonl is broken: .*metagym repair"):
        RunFolder.open(finished)
    repair = repair_run(finished)
    assert [(item.file, item.line) for item in repair.removed] == [(LOG, number)]
    assert repair.num_kept == 19
    assert (finished / f"{LOG}{REMOVED}").read_bytes() == bad
    assert repair.resume == f"metagym resume {finished}"
    run_experiment(manifest(), finished, resume=True)
    assert prompts_and_rewards(finished) == before
    assert len(lines_of(finished)) == 20
    assert repair_run(finished).removed == ()


def test_a_repair_says_what_each_line_was(finished: Path) -> None:
    spoil(finished, "without a field", 1, 4, 5)
    spoil(finished, "empty", 6)
    with (finished / LOG).open("ab") as log:
        log.write(b'{"kind":"epis')
    lost = [item.lost.partition(":")[0] for item in repair_run(finished).removed]
    assert lost == [
        "an episode",
        "the summary of a meta-step",
        "a reflection",
        "a line that says nothing",
        "the end of a line that a crash tore",
    ]


def test_the_loss_of_each_kind_of_line_is_named() -> None:
    assert not KINDS.keys() - LOSSES.keys()


def test_a_second_repair_adds_to_what_the_first_set_aside(finished: Path) -> None:
    first, second = spoil(finished, "no JSON", 2), None
    repair_run(finished)
    second = spoil(finished, "zeros", 3)
    repair_run(finished)
    assert (finished / f"{LOG}{REMOVED}").read_bytes() == first[0] + second[0]


def test_a_whole_run_is_left_as_it_is(finished: Path) -> None:
    before = {file.name: file.read_bytes() for file in finished.iterdir()}
    assert repair_run(finished).removed == ()
    assert {file.name: file.read_bytes() for file in finished.iterdir() if file.name != "lock"} == {
        name: content for name, content in before.items() if name != "lock"
    }


def test_a_broken_count_of_a_call_is_set_aside(finished: Path) -> None:
    (finished / CALLS).write_bytes(b'{"number": 1}\nnot JSON\n')
    with pytest.raises(RunFolderError, match=r"Line 1 of .*calls.jsonl is broken: .*metagym repair"):
        RunFolder.open(finished, writing=True)
    removed = repair_run(finished).removed
    assert [(item.file, item.line, item.lost.partition(":")[0]) for item in removed] == [
        (CALLS, 1, "the count of a model call"),
        (CALLS, 2, "the count of a model call"),
    ]
    assert (finished / CALLS).read_bytes() == b""


def test_a_report_that_is_no_json_is_set_aside(finished: Path) -> None:
    (finished / REPORT).write_text("{")
    (removed,) = repair_run(finished).removed
    assert (removed.file, removed.lost.partition(":")[0]) == (REPORT, "the report")
    assert not (finished / REPORT).exists()


def test_a_line_of_another_version_is_not_broken(finished: Path) -> None:
    log = (finished / LOG).read_bytes()
    (finished / LOG).write_bytes(log.replace(b'"schema_version":1', b'"schema_version":2', 1))
    with pytest.raises(RunFolderError, match=r"Line 1 .*schema_version is 2.*Install the version"):
        RunFolder.open(finished)
    with pytest.raises(RunFolderError, match="written by another version"):
        repair_run(finished)


def test_a_folder_that_is_written_to_is_not_repaired(finished: Path) -> None:
    with RunFolder.open(finished, writing=True), pytest.raises(RunFolderError, match="Another process"):
        repair_run(finished)


def test_a_broken_manifest_is_not_repaired(finished: Path) -> None:
    (finished / MANIFEST).write_text("{")
    with pytest.raises(RunFolderError, match=r"manifest.json is broken"):
        repair_run(finished)


def test_no_write_permission_is_an_error_that_says_so(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(finished, "empty", 1)

    def fail(*arguments: Any) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(os, "replace", fail)
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(RunFolderError, match=r"can be written to at .*read-only"):
        repair_run(finished)
    assert (finished / f"{LOG}{REMOVED}").read_bytes() == b"\n", "what is removed is written first"


# Replies ---------------------------------------------------------------------------------------------------


@pytest.fixture
def paid(tmp_path: Path, serve: Serve) -> tuple[Path, Any]:
    """A run whose replies came from a server."""
    server = serve(lambda request: ServerReply("Thought: x\nAction: push"))
    options = {"actor": {"model": "m", "base_url": server.base_url}, "episodes_per_step": 2, "allow_bad_batches": True}
    about = manifest(env_options=options, reflector="fixed", num_steps=1)
    run_experiment(about, tmp_path / "paid")
    return tmp_path / "paid", (about, server)


def change(path: Path, sql: str) -> int:
    with sqlite3.connect(path / REPLIES) as db:
        changed = db.execute(sql).rowcount
    db.close()
    return changed


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE exchanges SET reply = replace(reply, 'push', 'pull') WHERE key = (SELECT min(key) FROM exchanges)",
        "UPDATE exchanges SET reply = '[[' WHERE key = (SELECT min(key) FROM exchanges)",
        "UPDATE exchanges SET reply = CAST(x'ff' AS TEXT) WHERE key = (SELECT min(key) FROM exchanges)",
        "UPDATE exchanges SET reply = '{}', checksum = NULL WHERE key = (SELECT min(key) FROM exchanges)",
    ],
)
def test_a_changed_reply_is_found_set_aside_and_asked_for_again(paid: tuple[Path, Any], sql: str) -> None:
    path, (about, server) = paid
    num_calls, log = len(server.requests), (path / LOG).read_bytes()
    assert change(path, sql) == 1
    (removed,) = repair_run(path).removed
    assert (removed.file, removed.lost) == (REPLIES, LOSSES["reply"])
    assert len((path / f"{REPLIES}{REMOVED}").read_text(encoding="utf-8").splitlines()) == 1
    (path / LOG).unlink()
    run_experiment(about, path, resume=True)
    assert len(server.requests) == num_calls + 1, "only the reply that was removed"
    assert sorted((path / LOG).read_bytes().splitlines()) == sorted(log.splitlines())


def test_a_file_that_is_no_cassette_any_more_is_set_aside_whole(paid: tuple[Path, Any]) -> None:
    path, (about, _) = paid
    (path / REPLIES).write_bytes(b"SQLite format 3\x00" + b"\x01" * 5_000)
    (removed,) = repair_run(path).removed
    assert removed.lost.startswith("all recorded replies")
    assert (path / f"{REPLIES}{REMOVED}").exists()
    assert not (path / REPLIES).exists()
    run_experiment(about, path, resume=True)


def test_a_cassette_with_a_torn_page_is_set_aside_whole(paid: tuple[Path, Any]) -> None:
    path, _ = paid
    content = bytearray((path / REPLIES).read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    (path / REPLIES).write_bytes(content)
    assert repair_run(path).removed
    assert not (path / REPLIES).exists()
    cassette = Cassette(path / REPLIES)
    assert len(cassette) == 0
    cassette.close()


def test_an_episode_written_with_spaces_by_another_tool_is_read(finished: Path) -> None:
    lines = [json.dumps(json.loads(line)) for line in (finished / LOG).read_text(encoding="utf-8").splitlines()]
    (finished / LOG).write_text("\n".join(lines) + "\n", encoding="utf-8")
    with RunFolder.open(finished) as run:
        assert all(isinstance(item, Trajectory) for item in run.episodes())
    assert repair_run(finished).removed == ()
