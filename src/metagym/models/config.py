"""How a client treats its server: time limits, retries, the breaker, limits of rate, prices."""

from __future__ import annotations

from pydantic import Field

from metagym.budget import Prices
from metagym.types import Record


class ClientConfig(Record):
    """How `OpenAIChatModel` treats its server. Nothing here changes a reply, so none of it is in a fingerprint."""

    connect_timeout_s: float = Field(default=10.0, gt=0)
    """For the connection to stand."""
    first_byte_timeout_s: float | None = Field(default=None, gt=0)
    """For the first byte of the answer, and between two bytes; None means the time limit of the whole call.
    A server that does not stream sends its first byte when the reply is finished."""
    max_retry_s: float = Field(default=300.0, ge=0)
    """No attempt at a call begins later than this after the first one failed."""
    first_pause_s: float = Field(default=0.5, ge=0)
    """The first pause is a random part of this; it doubles with each retry."""
    max_pause_s: float = Field(default=30.0, ge=0)
    """The longest pause that is not the server's own wish (`Retry-After`)."""
    breaker_failures: int = Field(default=10, ge=1)
    """So many failures of one kind in a row, with no success between them, stop the run."""
    breaker_s: float = Field(default=30.0, ge=0)
    """A row that follows a success must also last this long: a restarting server is not down."""
    max_concurrency: int = Field(default=256, ge=1)
    """Calls in flight at once, at most. Overload halves the limit, successes raise it again."""
    requests_per_minute: int | None = Field(default=None, ge=1)
    """Attempts begun in any 60 seconds, at most."""
    tokens_per_minute: int | None = Field(default=None, ge=1)
    """Estimated prompt and token limit of the reply; corrected by what the server counted."""
    prices: Prices | None = None
    """What tokens cost; a budget in money needs them."""
    offline: bool = False
    """Asks no server and needs no key: for the replay of a cassette."""
