"""How a client treats its server: the key, time limits, retries, the breaker, rate limits, prices."""

from __future__ import annotations

import json
import os
import re
import reprlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from pydantic import Field

from metagym.budget import Prices
from metagym.errors import ConfigError
from metagym.types import Record

if TYPE_CHECKING:
    from openai import AsyncOpenAI

REPLY_TOKENS, REFLECTOR_REPLY_TOKENS = 4_096, 8_192
"""The longest reply by default: it has room for a model that thinks. Nothing else is sent unless it is asked for."""
DEFAULT_SAMPLING: Mapping[str, Any] = {"max_tokens": REPLY_TOKENS}
REFUSED_SAMPLING: Mapping[str, str] = {
    **dict.fromkeys(("extra_headers", "headers", "extra_query"), "headers may hold keys, and sampling is logged"),
    **dict.fromkeys(("model", "messages", "stream", "stream_options"), "the client sets it"),
    **dict.fromkeys(("n_predict", "num_predict", "max_new_tokens", "max_output_tokens"), "write max_tokens"),
    **dict.fromkeys(("n_cmpl", "num_return_sequences"), "write n"),
}
"""The names that `sampling` does not take, each with the reason."""
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_SECRET = re.compile(r"key|token|secret|passw|pwd|signature|\bsig\b|auth|credential|bearer|jwt|\bcode\b", re.IGNORECASE)
_SECRET_SAMPLING = re.compile(
    r"(?:x[_-])?(?:api[_-]?key|(?:proxy[_-])?auth\w*|(?:\w+[_-])?(?:access|auth|bearer)[_-]token|token|secret|"
    r"password|cookie|bearer)",
    re.IGNORECASE,
)
PLACEHOLDER_KEY = "no-key"  # the SDK does not start without a key, even for a server that needs no key


class ClientConfig(Record):
    """How `OpenAIChatModel` treats its server. Nothing here changes a reply, so a fingerprint holds nothing of it."""

    connect_timeout_s: float = Field(default=10.0, gt=0)
    """For making the connection."""
    first_byte_timeout_s: float | None = Field(default=None, gt=0)
    """Until the first byte of the reply; None means `timeout_s`.
    A server that does not stream sends its first byte when the reply is finished."""
    reply_timeout_s: float = Field(default=3600.0, gt=0)
    """For a whole answer: a stream that never ends is cut off."""
    stream: bool = True
    """Ask for streams. A server that does not stream, or does not count a stream's tokens, is found by asking once."""
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

    def connect(
        self, api_key: str, base_url: str | None, *, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> AsyncOpenAI:
        """Make the SDK's client for the running event loop; it makes no request yet and never retries."""
        import openai

        sdk = openai.AsyncOpenAI(
            api_key=api_key,
            base_url=base_url or "https://api.openai.com/v1",  # an empty OPENAI_BASE_URL is as good as a missing one
            default_query=dict(query),
            default_headers=dict(headers),
            timeout=openai.Timeout(None, connect=self.connect_timeout_s),  # `exchange` has the other limits
            max_retries=0,  # `asking` retries
            http_client=openai.DefaultAioHttpClient(),
        )
        if base_url is not None:  # the account's organisation and project are no other server's business
            sdk.organization = sdk.project = None
        return sdk


def find_key(given_url: str | None, url: str | None, api_key_env: str | None) -> str:
    """Return the key for the server at `url`, never a key that was meant for another server.

    `given_url` is the address that the user gave; None if the SDK's own address, or OPENAI_BASE_URL, is used.
    """
    if api_key_env is not None:
        if key := _read_key(api_key_env):
            return key
        if not _VARIABLE.fullmatch(api_key_env):
            raise ConfigError(
                "api_key_env must be the name of an environment variable that holds the key, such as MY_KEY. The text "
                "that was given is not shown, as it may be the key itself."
            )
        raise ConfigError(f"api_key_env names {api_key_env}, which is not set. Set it: export {api_key_env}=...")
    if given_url is not None:
        return PLACEHOLDER_KEY
    if key := _read_key("OPENAI_API_KEY"):
        return key
    if url is not None and urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1"):
        return PLACEHOLDER_KEY
    raise ConfigError(
        "Expected a key or a server, got neither. Set OPENAI_API_KEY, or give the base_url of your own server "
        "(base_url='http://localhost:8000/v1')."
    )


def _read_key(variable: str) -> str:
    key = os.environ.get(variable, "").strip().strip("'\"\u201c\u201d\u2018\u2019")  # pasted with its quotes
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(f"The key in {variable} must be one word of ASCII characters: look for a line end inside.")
    return key


def read_base_url(url: str | None) -> tuple[str | None, dict[str, str]]:
    """Return the address without its query, and the query; a plain query such as `api-version=` is sent along."""
    if url is None:
        return None, {}
    try:
        parts = urlsplit(url.strip())
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        (parts.hostname or "").encode("idna")
    except ValueError:  # a port that is no number, brackets of half an address, a part of a name that is too long
        is_url = False
    if not is_url:
        raise ConfigError(f"base_url must be a URL such as 'http://localhost:8000/v1', got {masked(url)!r}.")
    query = dict(parse_qsl(parts.query))
    is_key = any(_SECRET.search(name) for name in (*query, parts.fragment))
    is_key |= any(part and "=" not in part for part in parts.query.split("&"))  # a word alone may be the key itself
    if parts.username or parts.password or is_key:
        raise ConfigError(
            "base_url must hold no password and no key, as it is written into env.spec and logs. Put the key into an "
            "environment variable, and name it: api_key_env='MY_KEY'."
        )
    return urlunsplit(parts._replace(query="", fragment="")), query


def masked(url: str) -> str:
    """Return a URL for messages, without its password, its query and its fragment, which may hold a key.

    >>> masked("http://bob:secret@host/v1?key=secret"), masked("http://host/v1")
    ('http://***@host/v1?***', 'http://host/v1')
    """
    return re.sub(r"[?#].*", "?***", re.sub(r"^(\w+://)?[^/?#]*@", r"\1***@", url), flags=re.DOTALL)


def merge_sampling(sampling: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sampling over the defaults, as JSON; None removes a default. `extra_body` is merged as by the SDK."""
    own = {}
    for name, value in sampling.items():
        try:  # a number of numpy is a number
            text = json.dumps(value, allow_nan=False, ensure_ascii=False, default=lambda number: number.item())
            own[name] = json.loads(text.encode())
        except (TypeError, ValueError, AttributeError, RecursionError) as error:
            raise ConfigError(
                f"sampling[{name!r}] must be JSON with finite numbers, got {reprlib.repr(value)}: {error}."
            ) from error
    extra = own.pop("extra_body", None) or {}
    if not isinstance(extra, dict):
        raise ConfigError(f"sampling['extra_body'] must be a mapping, got {extra!r}.")
    own |= extra
    for name in own:
        why = "name the variable of the key with api_key_env" if _SECRET_SAMPLING.fullmatch(name) else ""
        if why := REFUSED_SAMPLING.get(name, why):
            raise ConfigError(f"sampling[{name!r}] is refused: {why}.")
    for name in ("max_tokens", "max_completion_tokens", "n", "best_of"):
        count = own.get(name)
        if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
            raise ConfigError(f"sampling[{name!r}] must be a positive int, or None, got {count!r}.")
    merged = {**DEFAULT_SAMPLING, **own}
    if merged.get("max_completion_tokens") is not None and "max_tokens" not in own:
        del merged["max_tokens"]
    # Seed and stop strings are no defaults: they come with each call, and None removes them.
    return {name: value for name, value in merged.items() if value is not None or name in ("seed", "stop")}
