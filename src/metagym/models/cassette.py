"""Cassettes: every exchange with a model, once, in one SQLite file, so that a run can be replayed.

An exchange is found by the request (model, sampling, messages) and by its `Call` (role, arm, meta-step, seed,
repetition; the seed follows from run seed, arm, task and step), never by the order in which calls arrive.
Each message is stored once. No key, no header and no URL is stored.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from metagym.budget import current_purpose
from metagym.errors import (
    CassetteMissError,
    ConfigError,
    ContentFilterError,
    ContextOverflowError,
    ConversationError,
    ModelUnavailableError,
    mask_addresses,
)
from metagym.models.chat import Call, ChatModel
from metagym.optional_attributes import describe
from metagym.types import Completion, Message, digest

logger = logging.getLogger(__name__)

Mode = Literal["record", "replay", "read-through"]
_SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)  # its message may quote bytes of a damaged file that are no text
CASSETTE_VERSION: Final = 2
"""Version 1 had no checksums; such a file is read, and gets the column."""

_CASSETTE: ContextVar[Cassette | None] = ContextVar("metagym_cassette", default=None)
open_cassette: Callable[[], Cassette | None] = _CASSETTE.get
"""Returns the cassette that is open at this point."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (digest TEXT PRIMARY KEY, message TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS exchanges (
    key TEXT PRIMARY KEY, content TEXT NOT NULL, call TEXT NOT NULL, request TEXT NOT NULL, reply TEXT NOT NULL,
    checksum TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_content ON exchanges (content);
CREATE INDEX IF NOT EXISTS by_call ON exchanges (call);
"""


_COLUMNS: Final = "key, content, call, request, reply, checksum"
Exchange = tuple[str, str, str, str, str, str | None]


class Rows(NamedTuple):
    """Exchanges as they are stored, to be copied from one cassette to another."""

    messages: tuple[tuple[str, str], ...] = ()
    exchanges: tuple[Exchange, ...] = ()


class Cassette:
    """Records the exchanges of everything that runs while it is open, or replays them.

    `record` asks the model each time and stores the reply, `replay` never asks, `read-through` asks only for
    exchanges that are not recorded. With `share=True` a reply that was recorded for another arm or seed is used as
    well, as in a cache; never if the purpose is measurement (`spending_on`), because arms would share their noise.

    >>> from metagym.models import Cassette
    >>> with Cassette(":memory:", mode="read-through").open() as cassette:
    ...     len(cassette)
    0
    >>> cassette.close()
    """

    def __init__(self, path: str | Path, *, mode: Mode = "read-through", share: bool = False) -> None:
        if mode not in ("record", "replay", "read-through"):
            raise ConfigError(f"mode must be 'record', 'replay' or 'read-through', got {mode!r}.")
        if mode == "replay" and not Path(path).exists():
            raise ConfigError(f"Expected a cassette to replay at {path}, got no file. Record one first: mode='record'.")
        self.path, self.mode, self.share = str(path), mode, share
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        if Path(path).exists():
            self._db  # noqa: B018 - opening it shows at once whether it is a cassette

    @contextlib.contextmanager
    def open(self) -> Iterator[Cassette]:
        """Send every model call inside through this cassette."""
        token = _CASSETTE.set(self)
        try:
            yield self
        finally:
            _CASSETTE.reset(token)

    def recall(self, model: ChatModel, messages: Sequence[Message], call: Call) -> Completion | None:
        """Return the recorded reply, or raise the recorded end of the conversation; None: the model has to be asked."""
        if self.mode == "record":
            return None
        request = _Request(model, messages, call)
        row = self._one(f"SELECT {_COLUMNS} FROM exchanges WHERE key = ?", request.key)
        if row is None and self.share and current_purpose() != "measurement":
            row = self._one(f"SELECT {_COLUMNS} FROM exchanges WHERE content = ? ORDER BY key", request.content)
        if row is None and self.mode == "replay":
            raise CassetteMissError(
                f"{self.path} holds no reply to this {call.role} call in meta-step {call.meta_step}. "
                f"{self._explained(request)} Record it: mode='read-through'."
            )
        if row is None:
            return None
        outcome = _read_outcome(row)
        if outcome is None:
            damaged = f"The reply to the {call.role} call of meta-step {call.meta_step} in {self.path} is damaged"
            if self.mode == "replay":
                raise CassetteMissError(f"{damaged}. Record it again: mode='read-through'.")
            logger.warning("%s: the model is asked again.", damaged)
            return None
        if isinstance(outcome, ConversationError):
            raise outcome
        return outcome

    def keep(
        self, model: ChatModel, messages: Sequence[Message], call: Call, outcome: Completion | ConversationError
    ) -> None:
        """Store an exchange: the reply, or the error that ended the conversation."""
        if isinstance(outcome, Completion):
            reply = f'{{"completion":{outcome.model_dump_json()}}}'
        else:
            name = "overflow" if isinstance(outcome, ContextOverflowError) else outcome.stop_reason
            reply = json.dumps({name: mask_addresses(str(outcome))})
        request = _Request(model, messages, call)
        rows = [(key, json.dumps(message)) for key, message in zip(request.digests, messages, strict=True)]
        stored = json.dumps({"model": request.model, "messages": request.digests})
        fields = (request.key, request.content, request.call, stored, reply)
        self.adopt(Rows(tuple(rows), ((*fields, _checksum(fields)),)))

    def rows(self, calls: Iterable[Call] | None = None) -> Rows:
        """Return the exchanges of `calls`, or all."""
        if self._connection is None and not Path(self.path).exists():
            return Rows()  # reading creates no file
        if calls is None:
            return Rows(
                tuple(self._all("SELECT * FROM messages")), tuple(self._all(f"SELECT {_COLUMNS} FROM exchanges"))
            )
        by_call = f"SELECT {_COLUMNS} FROM exchanges WHERE call = ?"
        found = [row for call in calls for row in self._all(by_call, json.dumps(call.caller))]
        digests = dict.fromkeys(name for row in found for name in json.loads(row[3])["messages"])
        by_digest = "SELECT * FROM messages WHERE digest = ?"
        return Rows(tuple(row for name in digests for row in self._all(by_digest, name)), tuple(found))

    def models(self, role: str) -> list[dict[str, Any]]:
        """Return the fingerprints of the models that answered calls of `role`; see a model's key `recorded`."""
        sql = (
            "SELECT DISTINCT json_extract(request, '$.model') FROM exchanges WHERE json_extract(call, '$[0]') = ? "
            "AND json_type(request, '$.model') = 'object' ORDER BY key"
        )
        models = [json.loads(row[0]) for row in self._all(sql, role)]
        for model in models:
            for name in ("form", "tools", "held"):  # of one reply; see `HeldModel` and `ModelWithTools`
                model.pop(name, None)
        return [model for index, model in enumerate(models) if model not in models[:index]]

    def adopt(self, rows: Rows) -> None:
        """Store exchanges of another cassette."""
        if rows.exchanges:
            with self._lock, self._reporting(), self._db:
                self._db.executemany("INSERT OR IGNORE INTO messages VALUES (?, ?)", rows.messages)
                insert = f"INSERT OR REPLACE INTO exchanges ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)"
                self._db.executemany(insert, rows.exchanges)

    def damaged(self) -> list[Exchange]:
        """Return the exchanges that cannot be read, or whose checksum does not fit."""
        with self._lock, self._reporting():
            self._db.text_factory = lambda data: data.decode("utf-8", "replace")
            try:
                rows = self._db.execute(f"SELECT {_COLUMNS} FROM exchanges ORDER BY key").fetchall()
            finally:
                self._db.text_factory = str
        return [row for row in rows if _read_outcome(row) is None]

    def remove(self, keys: Iterable[str]) -> None:
        """Forget exchanges; the model is asked for them again."""
        with self._lock, self._reporting(), self._db:
            self._db.executemany("DELETE FROM exchanges WHERE key = ?", [(key,) for key in keys])

    def close(self) -> None:
        """Close the file, and leave one file that can be copied. Calling it twice is fine."""
        with self._lock:
            if self._connection is not None:
                with contextlib.suppress(*_SQLITE_ERRORS):  # another process has it open
                    self._connection.execute("PRAGMA journal_mode = DELETE")
                self._connection.close()
                self._connection = None

    def __len__(self) -> int:
        return int(self._one("SELECT count(*) FROM exchanges")[0])

    @property
    def _db(self) -> sqlite3.Connection:
        """The connection; the file is created at the first use, so a run without calls creates no file."""
        if self._connection is None:
            db: sqlite3.Connection | None = None
            try:
                db = self._connect(read_only=self.mode == "replay")
                version = db.execute("PRAGMA user_version").fetchone()[0]
                if self.mode == "replay" and version == CASSETTE_VERSION:
                    self._connection = db
                    return db
                if version not in range(CASSETTE_VERSION + 1):
                    raise sqlite3.DatabaseError(f"its version is {version}, this metagym reads {CASSETTE_VERSION}")
                if self.mode == "replay":  # an older one is brought to this version first
                    db.close()
                    db = self._connect()
                # Survives kill -9 of the process without waiting for the disk at each exchange.
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = NORMAL")
                db.executescript(_SCHEMA)
                if not any(name == "checksum" for _, name, *_ in db.execute("PRAGMA table_info(exchanges)")):
                    db.execute("ALTER TABLE exchanges ADD COLUMN checksum TEXT")
                db.execute(f"PRAGMA user_version = {CASSETTE_VERSION}")
                db.commit()
            except _SQLITE_ERRORS as error:
                if db is not None:
                    db.close()
                if isinstance(error, sqlite3.OperationalError):  # such as a full disk
                    raise ConfigError(
                        f"Expected a cassette at {self.path} that can be opened, got: {error}. Look at the rights of "
                        "its folder and the room on the disk; a replay needs only to read."
                    ) from error
                raise ConfigError(f"Expected a cassette at {self.path}, got another kind of file: {error}.") from error
            self._connection = db
        return self._connection

    def _connect(self, *, read_only: bool = False) -> sqlite3.Connection:
        # Calls come from the loop's thread, `close` from another; the lock keeps them apart.
        if not read_only or str(self.path) == ":memory:":
            return sqlite3.connect(self.path, check_same_thread=False, timeout=30.0)
        path = Path(self.path).resolve()
        # In a folder that is read-only, SQLite cannot share the file; a log beside it would then be left out.
        is_alone = not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists()
        address = f"{path.as_uri()}?mode=ro{'&immutable=1' if is_alone else ''}"
        return sqlite3.connect(address, uri=True, check_same_thread=False, timeout=30.0)

    def _one(self, sql: str, *values: str) -> Any:
        return next(iter(self._all(f"{sql} LIMIT 1", *values)), None)

    def _all(self, sql: str, *values: str) -> list[Any]:
        with self._lock, self._reporting():
            return self._db.execute(sql, values).fetchall()

    @contextlib.contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except _SQLITE_ERRORS as error:
            raise ModelUnavailableError(
                f"Expected a cassette that can be read and written at {self.path}, got: {error}. If the disk is not "
                "full, the file is damaged: metagym repair RUN sets it aside, and models are asked again."
            ) from error

    def _explained(self, request: _Request) -> str:
        try:
            return self._explain(request)
        except (ValueError, KeyError, TypeError, IndexError, RecursionError):
            return "A recorded request that is near to it is damaged."

    def _explain(self, request: _Request) -> str:
        """Return how the request differs from the nearest recorded one."""
        row = self._one("SELECT request, call FROM exchanges WHERE call = ? ORDER BY key", request.call)
        if row is not None:
            return "The nearest recorded request, of the same call, differs: " + self._difference(request, row[0])
        row = self._one("SELECT request, call FROM exchanges WHERE content = ? ORDER BY key", request.content)
        if row is not None:
            pairs = zip(Call._fields[:-1], json.loads(row[1]), json.loads(request.call), strict=True)
            changes = ", ".join(f"{name} was {was!r}, is {now!r}" for name, was, now in pairs if was != now)
            return f"The same conversation is recorded for another call: {changes}."
        role = json.loads(request.call)[0]
        rows = self._all("SELECT request, call FROM exchanges ORDER BY key")
        same_role = [stored for stored, call in rows if json.loads(call)[0] == role]
        if not same_role:
            return f"It holds {len(self)} exchanges, and no exchange of that role."
        nearest = max(same_role, key=lambda stored: _num_shared(json.loads(stored)["messages"], request.digests))
        return "The nearest recorded request differs: " + self._difference(request, nearest)

    def _difference(self, request: _Request, stored: str) -> str:
        then = json.loads(stored)
        if then["model"] != request.model:
            return f"model and sampling were {then['model']}, are {request.model}."
        index = _num_shared(then["messages"], request.digests)
        if index >= min(len(then["messages"]), len(request.digests)):
            return f"it had {len(then['messages'])} messages, this one has {len(request.digests)}."
        row = self._one("SELECT message FROM messages WHERE digest = ?", then["messages"][index])
        was, now = json.loads(row[0]), request.messages[index]
        if was["role"] != now["role"]:
            return f"message {index} was of {was['role']}, is of {now['role']}."
        at = _num_shared(was["content"], now["content"])
        around = slice(max(0, at - 20), at + 40)
        texts = f"was {was['content'][around]!r}, is {now['content'][around]!r}"
        return f"message {index} ({now['role']}) at character {at}: {texts}."


def _checksum(fields: Sequence[str]) -> str:
    return digest(list(fields))


def _read_outcome(row: Exchange) -> Completion | ConversationError | None:
    """Return the reply in a row, or the error that ended the conversation; None if the row is damaged."""
    *fields, checksum = row
    if not all(isinstance(field, str) for field in fields):  # sqlite takes any value in any column
        return None
    if checksum is not None and checksum != _checksum(fields):  # a row of version 1 has no checksum
        return None
    try:
        reply = json.loads(fields[-1])
        for name, kind in (("overflow", ContextOverflowError), ("content filter", ContentFilterError)):
            if name in reply:
                return kind(reply[name])
        return Completion.model_validate(reply["completion"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


class _Request:
    """A request, its caller, and the digests that it is found by."""

    def __init__(self, model: ChatModel, messages: Sequence[Message], call: Call) -> None:
        described = describe(model)
        if isinstance(described, dict):  # the same model at another address gives the same replies
            described = {name: value for name, value in described.items() if name != "base_url"}
        self.model, self.messages = described, messages
        self.digests = [digest(message, length=24) for message in messages]
        self.call = json.dumps(call.caller)
        self.content = digest([described, self.digests, *call.stop], length=32)
        self.key = digest([self.content, self.call], length=32)


def _num_shared(left: Sequence[str], right: Sequence[str]) -> int:
    """Return how many items two sequences share before they differ."""
    shorter = min(len(left), len(right))
    return next((index for index in range(shorter) if left[index] != right[index]), shorter)
