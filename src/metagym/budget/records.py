"""What model calls cost: prices, budgets, one attempt, the sum of attempts, and their log in a run folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Literal, TextIO

from pydantic import Field, ValidationError

from metagym.errors import RunFolderError
from metagym.files import quoted, whole_lines
from metagym.types import Record, Text, Usage

Purpose = Literal["learning", "measurement"]
"""The purpose of a call: to find a better prompt, or to measure how good one is."""

_PURPOSE: ContextVar[Purpose] = ContextVar("metagym_purpose", default="learning")
current_purpose: Callable[[], Purpose] = _PURPOSE.get
"""Returns the purpose of model calls at this point."""

AttemptOutcome = Literal["whole", "refused", "unknown", "replayed", "reserved"]
"""The state of an attempt.

`reserved`: it is under way, or its process died. `whole`: the reply arrived whole. `refused`: the server did not
take the request, or answered with an error, so nothing was paid. `unknown`: it was cut off on the way, paid or not.
`replayed`: the reply came from a cassette, unpaid.
"""


@contextlib.contextmanager
def spending_on(purpose: Purpose) -> Iterator[None]:
    """Book the model calls inside as `learning` (the default elsewhere) or `measurement`."""
    token = _PURPOSE.set(purpose)
    try:
        yield
    finally:
        _PURPOSE.reset(token)


class Prices(Record):
    """The prices of a model, in money per million tokens, in any currency."""

    prompt: float = Field(ge=0.0, allow_inf_nan=False)
    completion: float = Field(ge=0.0, allow_inf_nan=False)
    """Reasoning tokens count as completion."""
    cached: float | None = Field(default=None, ge=0.0, allow_inf_nan=False)
    """For prompt tokens from the server's cache; None means the price of the other prompt tokens."""

    def of(self, usage: Usage) -> float:
        """Return the price of `usage`."""
        cached = self.prompt if self.cached is None else self.cached
        fresh_tokens = usage.prompt_tokens - usage.cached_tokens
        return (
            fresh_tokens * self.prompt + usage.cached_tokens * cached + usage.completion_tokens * self.completion
        ) / 1e6

    def at_most(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Return the highest price that these numbers of tokens can have."""
        highest = max(self.prompt, self.cached or 0.0)
        return (prompt_tokens * highest + completion_tokens * self.completion) / 1e6


class Budget(Record):
    """The most that a run may use in all; None means no limit. It is never exceeded."""

    tokens: int | None = Field(default=None, ge=0)
    """Prompt and completion together."""
    calls: int | None = Field(default=None, ge=0)
    """Calls that were paid, or may have been."""
    cost: float | None = Field(default=None, ge=0.0, allow_inf_nan=False)
    """Money, in the currency of the prices; every model then needs prices."""
    episodes: int | None = Field(default=None, ge=0)
    """Episodes; a batch that it does not cover is not started."""


class BudgetUse(Record):
    """The usage up to one point, in the four units of a budget."""

    episodes: int = 0
    calls: int = 0
    tokens: int = 0
    cost: float = 0.0
    """Money; calls without prices count as 0."""


class Attempt(Record):
    """One request to a model server and its outcome: an entry of the ledger."""

    number: int
    """Names the attempt within its ledger."""
    role: Text
    purpose: Purpose
    meta_step: int
    arm: Text = ""
    model: Text = ""
    seed: int = 0
    """The seed of the call: with the arm and the meta-step, it names the step of the episode that the actor played."""
    retry: int = 0
    """How many attempts at the same call came before."""
    outcome: AttemptOutcome
    reason: Text = ""
    """Why it was refused, or why its cost is unknown."""
    usage: Usage = Usage()
    """The server's count; zero unless the reply arrived whole."""
    max_tokens: int = 0
    """An upper bound of the tokens that it can use; reserved in the budget until the outcome is known."""
    cost: float | None = None
    """In the currency of the prices; an upper bound if the outcome is unknown; None without prices."""
    waiting_s: float = 0.0
    """Seconds from the call (or the attempt before) to the request: pauses, limits, budget."""
    working_s: float = 0.0
    """Seconds from the request to its end."""

    def lost(self) -> Attempt:
        """Return this reserved attempt as it counts after its process died."""
        return self.model_copy(update={"outcome": "unknown", "reason": "the process died during the call"})


class Spending(Record):
    """The sum of attempts."""

    usage: Usage = Usage()
    """Tokens and calls of the replies that arrived whole."""
    num_retries: int = 0
    num_refused: int = 0
    """Attempts that the server refused or never received."""
    num_unknown: int = 0
    """Attempts that were cut off on the way: their cost is unknown."""
    num_replayed: int = 0
    """Replies that came from a cassette, unpaid."""
    unknown_tokens: int = 0
    """An upper bound of the tokens of the unknown ones."""
    cost: float = 0.0
    """Money for the whole replies; attempts without prices count as 0."""
    unknown_cost: float = 0.0
    """An upper bound of the money for the unknown ones."""
    waiting_s: float = 0.0
    working_s: float = 0.0

    @property
    def max_tokens(self) -> int:
        """Tokens that were, or may have been, used."""
        return self.usage.prompt_tokens + self.usage.completion_tokens + self.unknown_tokens

    @property
    def max_calls(self) -> int:
        """Calls that were, or may have been, paid."""
        return self.usage.num_calls + self.num_unknown

    @property
    def max_cost(self) -> float:
        """Money that was, or may have been, spent."""
        return self.cost + self.unknown_cost

    def __add__(self, other: Spending) -> Spending:
        mine, theirs = dict(self), dict(other)
        return Spending(**{name: mine[name] + theirs[name] for name in mine})


class CallLog:
    """Appends each attempt at a model call to `RUN/calls.jsonl`: when it is reserved, and with its outcome.

    Attempts that `read` found under way belong to a process that died. The first `write` adds a line for each of
    them, so that a watcher of the file knows which calls are under way now.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: TextIO | None = None
        self._lost: dict[int, Attempt] = {}

    def read(self) -> Iterator[Attempt]:
        """Yield the attempts written so far, so that a resumed run knows its usage; drop a torn last line."""
        for number, (_, line) in enumerate(self._lines(), start=1):
            try:
                attempt = Attempt.model_validate_json(line)
            except ValidationError as error:
                first = error.errors()[0]
                raise RunFolderError(
                    f"Line {number} of {self.path} is broken: {'.'.join(map(str, first['loc']))} {first['msg']}. To "
                    f"set it aside and keep the rest: metagym repair {quoted(self.path.parent)}"
                ) from error
            self._lost.pop(attempt.number, None)
            if attempt.outcome == "reserved":
                self._lost[attempt.number] = attempt
            yield attempt

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        try:
            yield from whole_lines(self.path) if self.path.exists() else ()
        except OSError as error:
            raise RunFolderError(f"Expected a log of model calls at {self.path}: {error}.") from error

    def write(self, attempt: Attempt) -> None:
        """Append an attempt; a replayed reply cost nothing and is left out."""
        if attempt.outcome == "replayed":
            return
        if self._file is None:
            # A torn last line is cut off, so that the attempt begins on a new line.
            if self.path.exists() and not (content := self.path.read_bytes()).endswith(b"\n"):
                os.truncate(self.path, content.rfind(b"\n") + 1)
            self._file = self.path.open("a", encoding="utf-8")
            lost, self._lost = self._lost, {}
            for other in lost.values():
                self.write(other.lost())
        self._file.write(attempt.model_dump_json(exclude_defaults=True) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file. Calling it twice is fine."""
        if self._file is not None:
            self._file.close()
            self._file = None
