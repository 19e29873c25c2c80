"""How a client treats its server: the key, time limits, retries, the breaker, rate limits, prices."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import Field

from metagym.budget import Prices
from metagym.errors import ConfigError
from metagym.types import Record

if TYPE_CHECKING:
    from openai import AsyncOpenAI

DEFAULT_SAMPLING: Mapping[str, Any] = {"temperature": 0.0, "max_tokens": 500}
PLACEHOLDER_KEY = "no-key"  # the SDK does not start without a key, even for a server that needs none


class ClientConfig(Record):
    """How `OpenAIChatModel` treats its server. Nothing here changes a reply, so none of it is in a fingerprint."""

    connect_timeout_s: float = Field(default=10.0, gt=0)
    """For making the connection."""
    first_byte_timeout_s: float | None = Field(default=None, gt=0)
    """For the first byte of the answer, and between two bytes; None means the time limit of the whole call.
    A server that does not stream sends its first byte when the reply is finished."""
    max_retry_s: float = Field(default=300.0, ge=0)
    """No attempt at a call starts later than this after the first failure."""
    first_pause_s: float = Field(default=0.5, ge=0)
    """The first pause is a random part of this; it doubles with each retry."""
    max_pause_s: float = Field(default=30.0, ge=0)
    """The longest pause that the server did not ask for (`Retry-After`)."""
    breaker_failures: int = Field(default=10, ge=1)
    """This number of failures of one kind in a row, with no success between them, stops the run."""
    breaker_s: float = Field(default=30.0, ge=0)
    """A row that follows a success must also last this long: a restarting server is not down."""
    max_concurrency: int = Field(default=256, ge=1)
    """The most calls in flight at once. Overload halves the limit, successes raise it again."""
    requests_per_minute: int | None = Field(default=None, ge=1)
    """The most attempts started in any 60 seconds."""
    tokens_per_minute: int | None = Field(default=None, ge=1)
    """The estimated prompt and the token limit of the reply; corrected by the server's count."""
    prices: Prices | None = None
    """A budget in money needs them."""
    offline: bool = False
    """Make no calls and need no key: for the replay of a cassette."""

    def connect(self, api_key: str, base_url: str | None, *, timeout_s: float) -> AsyncOpenAI:
        """Make the SDK's client for the running event loop; it makes no request yet and never retries."""
        import openai

        first_byte_s = self.first_byte_timeout_s or timeout_s
        return openai.AsyncOpenAI(
            api_key=api_key,
            base_url=base_url,
            timeout=openai.Timeout(timeout_s, connect=self.connect_timeout_s, read=first_byte_s),
            max_retries=0,  # `asking` retries
            http_client=openai.DefaultAioHttpClient(),
        )


def find_key(given_url: str | None, url: str | None, api_key_env: str | None) -> str:
    """Return the key for the server at `url`, never a key that was meant for another server.

    `given_url` is the address that the user gave; None if the SDK's own address, or OPENAI_BASE_URL, is used.

    Raises:
        ConfigError: a key is needed, and no variable holds one.
    """
    if api_key_env is not None:
        if key := os.environ.get(api_key_env):
            return key
        raise ConfigError(f"api_key_env names {api_key_env}, which is not set. Set it: export {api_key_env}=...")
    if given_url is not None:
        return PLACEHOLDER_KEY
    if key := os.environ.get("OPENAI_API_KEY"):
        return key
    if url is not None and urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1"):
        return PLACEHOLDER_KEY
    raise ConfigError(
        "Expected a key or a server, got neither. Set OPENAI_API_KEY, or give the base_url of your own server "
        "(base_url='http://localhost:8000/v1')."
    )


def merge_sampling(sampling: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sampling over the defaults; None removes a default."""
    merged = {**DEFAULT_SAMPLING, **sampling}
    if merged.get("max_completion_tokens") is not None and "max_tokens" not in sampling:
        del merged["max_tokens"]
    # The seed is no default: it comes with each call, and None removes it.
    return {name: value for name, value in merged.items() if value is not None or name == "seed"}
