"""A cassette that was damaged: a reply that changed is never used, and a file that cannot be read stops the run."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from metagym.errors import CassetteMissError, ModelUnavailableError
from metagym.models import Call, Cassette
from metagym.testing import FakeChatModel
from metagym.types import Completion, Message

MODEL = FakeChatModel([])
MESSAGES: list[Message] = [{"role": "user", "content": "Hi."}]
CALL = Call("actor", seed=7)


def fill(path: Path) -> None:
    cassette = Cassette(path)
    cassette.keep(MODEL, MESSAGES, CALL, Completion(text="Hello."))
    cassette.close()


def change(path: Path, sql: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.executescript(sql)


def test_a_cassette_of_version_1_is_read_and_gets_checksums(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    fill(path)
    change(
        path,
        "CREATE TABLE old (key TEXT PRIMARY KEY, content TEXT NOT NULL, call TEXT NOT NULL, request TEXT NOT NULL,"
        " reply TEXT NOT NULL) WITHOUT ROWID; INSERT INTO old SELECT key, content, call, request, reply FROM"
        " exchanges; DROP TABLE exchanges; ALTER TABLE old RENAME TO exchanges; PRAGMA user_version = 1;",
    )
    cassette = Cassette(path, mode="replay")
    assert cassette.recall(MODEL, MESSAGES, CALL) == Completion(text="Hello.")
    assert cassette.damaged() == []
    cassette.keep(MODEL, MESSAGES, CALL._replace(seed=8), Completion(text="New."))
    assert [row[-1] is None for row in sorted(cassette.rows().exchanges, key=lambda row: row[2])] == [True, False]
    cassette.close()


@pytest.mark.parametrize("reply", ["replace(reply, 'Hello', 'Hallo')", "'['", "'{}'", "'null'"])
def test_a_damaged_reply_is_not_used(tmp_path: Path, reply: str, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "c.sqlite"
    fill(path)
    change(path, f"UPDATE exchanges SET reply = {reply}")
    replayed = Cassette(path, mode="replay")
    with pytest.raises(CassetteMissError, match=r"The reply to the actor call .* is damaged. Record it again"):
        replayed.recall(MODEL, MESSAGES, CALL)
    replayed.close()
    cassette = Cassette(path)
    assert cassette.recall(MODEL, MESSAGES, CALL) is None
    assert "is damaged: the model is asked again" in caplog.text
    cassette.keep(MODEL, MESSAGES, CALL, Completion(text="Again."))
    assert cassette.recall(MODEL, MESSAGES, CALL) == Completion(text="Again.")
    cassette.close()


def test_a_damaged_file_stops_the_run(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    fill(path)
    cassette = Cassette(path)
    change(path, "DROP TABLE exchanges")
    with pytest.raises(ModelUnavailableError, match=r"can be read and written at .*no such table.*metagym repair"):
        cassette.recall(MODEL, MESSAGES, CALL)
    cassette.close()
