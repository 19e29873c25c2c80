"""From the exceptions of the SDK to a `Failure`: the problem, whether a retry may help, and the remedy.

The breaker counts failures of one kind in a row, and stops the run if no call can succeed.
"""

from __future__ import annotations

import email.utils
import functools
import math
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC
from typing import Any, Final, NamedTuple

from metagym.errors import ContentFilterError, ContextOverflowError, ModelError, ModelUnavailableError
from metagym.models.client_config import REFUSED_SAMPLING, ClientConfig
from metagym.models.server_replies import ReplyError, ServerError, read_error
from metagym.models.server_words import has_meaning

Clock = Callable[[], float]
_HALF_OPEN_AFTER_S = 5.0
_RETRIED_STATUSES = frozenset({408, 409, 425, 429})
_UNAVAILABLE_STATUSES = frozenset({429, 502, 503, 504, 529})
_OVERLOAD_STATUSES = frozenset({429, 503, 529})
# A gateway gave up on the server behind it, which may have finished the reply and counted it.
_MAYBE_PAID_STATUSES = frozenset({408, 504, 524})
# Under a status of success, too, they mean that no model was asked. A 400 may come after the reply (Groq's calls).
_UNPAID_STATUSES = frozenset({401, 402, 403, 404, 429})

# Names of the exceptions of openai, httpx, httpx2, aiohttp, anyio, ssl and the system.
_UNTRUSTED = frozenset({"SSLCertVerificationError", "ClientConnectorCertificateError"})
_NOT_SENDABLE = frozenset(
    {
        *("InvalidURL", "UnsupportedProtocol", "TooManyRedirects", "LocalProtocolError", "CookieConflict"),
        *("UnicodeEncodeError", "InvalidUrlClientError", "NonHttpUrlClientError"),
    }
)
_NO_CONNECTION_OF_AIOHTTP = frozenset({"ClientConnectorError", "ConnectionTimeoutError", "ClientProxyConnectionError"})
_NO_CONNECTION = _NO_CONNECTION_OF_AIOHTTP | {
    *("ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "ConnectionRefusedError", "gaierror"),
}
_LATE = frozenset({"TimeoutError", "TimeoutException", "APITimeoutError"})
_BROKEN = frozenset(
    {
        *("JSONDecodeError", "DecodingError", "UnicodeDecodeError", "ContentEncodingError", "BadHttpMessage"),
        *("APIResponseValidationError", "ClientResponseError"),
    }
)
_CUT_IN_THE_BODY = frozenset({"ClientPayloadError", "PayloadEncodingError", "ReadError", "RemoteProtocolError"})
_CUT = frozenset(
    {
        *("APIConnectionError", "RequestError", "StreamError", "ClientError", "HttpProcessingError"),
        *("OSError", "EOFError", "EndOfStream", "BrokenResourceError", "ClosedResourceError", "ProtocolError"),
    }
)


class LateError(TimeoutError):
    """The server was silent for too long, or its reply took too long. The text is the remedy."""


class Failure(NamedTuple):
    """One attempt that failed."""

    kind: str
    """`HTTP 500`, `timeout`, `cut`, `cut stream`, `no connection`, `broken reply`. Failures of one kind are the same
    error."""
    message: str
    """The server's answer, or the error, in words."""
    remedy: str
    error: type[ModelError] = ModelError
    """The error that is raised if there is no retry."""
    may_pass: bool = False
    """Whether a retry may succeed."""
    is_outage: bool = False
    """Whether the server is only not available: then the time counts, and not the number of tries."""
    maybe_paid: bool = False
    overload: bool = False
    retry_after_s: float | None = None
    """The pause that the server asked for."""
    parameter: str = ""
    """The request parameter that was refused."""
    is_lesson: bool = False
    """Whether the client learned the server's rules from it: another request is made at once, and is no retry."""


INCOMPLETE: Final = Failure("incomplete reply", "a reply without the requested fields", "", is_lesson=True)
"""A reply that is paid, and lacks a field that the server gives if it is asked in another way."""


class AttemptFailedError(Exception):
    """Carries a failure through the retry loop."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure


class Breaker:
    """Stops the run when a server fails in the same way again and again, with no success between.

    `breaker_failures` failures of one kind in a row open it. If the server has answered before, the row must also
    last `breaker_s` seconds from the start of its first attempt. A 429, 503 or 529 counts only when a call is given
    up: a server that limits the rate, or still loads its model, is not down. While the breaker is open, every call
    fails at once. After five seconds one call may try: a failure opens it again, a success closes it.
    """

    def __init__(self, config: ClientConfig, *, clock: Clock = time.monotonic) -> None:
        self._config, self._clock = config, clock
        self.is_quiet = False
        """Whether the last attempt was answered: then there is nothing to check and nothing to note."""
        self._has_answered = False
        self._kind, self._length, self._began_at = "", 0, 0.0
        self._error: ModelUnavailableError | None = None
        self._opened_at = 0.0

    def check(self) -> None:
        """Let a call through, or raise a ModelUnavailableError if the breaker is open."""
        if self._error is not None and self._clock() - self._opened_at < _HALF_OPEN_AFTER_S:
            raise ModelUnavailableError(str(self._error))

    def succeeded(self) -> None:
        """Note a reply."""
        self.is_quiet, self._has_answered, self._length, self._error = True, True, 0, None

    def failed(self, failure: Failure, began_at: float, server: str) -> None:
        """Note an attempt at `server` that began at `began_at` and failed."""
        if failure.kind != self._kind or self._length == 0:
            self._kind, self._length, self._began_at = failure.kind, 0, began_at
        self.is_quiet = False
        self._length += 1
        self._began_at = min(self._began_at, began_at)
        lasted_s = self._clock() - self._began_at
        is_short = self._has_answered and lasted_s < self._config.breaker_s
        if self._length < self._config.breaker_failures or is_short:
            return
        self._opened_at = self._clock()
        self._error = ModelUnavailableError(
            f"Expected a reply from {server}, got the same error {self._length} times in a row within "
            f"{lasted_s:.1f} s, with no success between: {failure.message}. The run stops here; its episodes are "
            f"kept. {failure.remedy}"
        )


def read_failure(error: Exception, sent: Mapping[str, Any]) -> Failure:
    """Return the failure behind any error of the SDK, the HTTP libraries, the system, or of reading the reply.

    `sent` is the body of the request.
    """
    import openai

    if isinstance(error, openai.APIStatusError):
        return _read_answer(error.status_code, read_error(error.response.content), error.response.headers, sent)
    if isinstance(error, ReplyError) and error.error is not None:
        status = error.error.status or 200
        maybe_paid = error.has_choice or status not in _UNPAID_STATUSES
        return _read_answer(status, error.error, {}, sent)._replace(maybe_paid=maybe_paid)
    if isinstance(error, ReplyError) and error.is_cut:
        return Failure("cut stream", str(error), "Look at the server's log.", may_pass=True, maybe_paid=True)
    if isinstance(error, ReplyError):
        remedy = "Check that base_url ends in the /v1 of an OpenAI-compatible server, and look at the server's log."
        return Failure("broken reply", str(error), remedy, may_pass=True, maybe_paid=True)
    if isinstance(error, LateError):
        return Failure("timeout", "no answer", str(error), may_pass=True, maybe_paid=True, overload=True)
    return _read_exception(error)


def _read_exception(error: Exception) -> Failure:
    """Return the failure behind an exception that is no answer of the server.

    The libraries wrap each other's exceptions, in two generations that differ from one version of the SDK to the
    next. So the names of all classes on the way to the root cause decide, the most certain ones first.
    """
    causes: list[BaseException] = [error]  # the root cause last
    for cause in causes:
        members = cause.exceptions if isinstance(cause, BaseExceptionGroup) else ()
        inner = (cause.__cause__ or cause.__context__, *members)
        causes += [other for other in inner if isinstance(other, BaseException) and other not in causes]
    names = {kind.__name__ for cause in causes for kind in type(cause).__mro__}
    root = f"{type(causes[-1]).__name__}: {_text_of(causes[-1])}"
    if names & _UNTRUSTED:
        remedy = "The server's certificate is not trusted: name its authority in SSL_CERT_FILE, or correct base_url."
        return Failure("no connection", root, remedy, ModelUnavailableError)
    if names & _NOT_SENDABLE:
        remedy = "The request cannot be sent: check base_url, and the proxy variables of the environment."
        return Failure("no request", root, remedy, ModelUnavailableError)
    if names & _NO_CONNECTION and not ("ClientError" in names and not names & _NO_CONNECTION_OF_AIOHTTP):
        remedy = "Nothing answers there: start the server, or correct base_url."
        return Failure("no connection", _text_of(causes[-1]) or root, remedy, may_pass=True, is_outage=True)
    # The SDK's transport calls a connection that aiohttp lost a time-out.
    is_lost = "ClientError" in names and not names & {"TimeoutError", "ServerTimeoutError"}
    if names & _LATE and not is_lost:
        remedy = "It did not answer in time: check the server, or raise timeout_s."
        return Failure("timeout", root, remedy, may_pass=True, maybe_paid=True, overload=True)
    if names & _BROKEN and not names & _CUT_IN_THE_BODY:
        return Failure("broken reply", root, "Look at the server's log.", may_pass=True, maybe_paid=True)
    if names & _CUT:
        return Failure("cut", root, "Look at the server's log.", may_pass=True, maybe_paid=True)
    remedy = "This is a fault of the client or of a library below it: please report it."
    return Failure("client error", root, remedy, maybe_paid=True)


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # some libraries' own exceptions fail at that
        return ""


def _read_answer(status: int, error: ServerError, headers: Any, sent: Mapping[str, Any]) -> Failure:
    """Return the failure behind an error's answer: codes decide before words, and words before the status."""
    means = functools.partial(has_meaning, message=error.message, codes=error.codes)
    kind = f"HTTP {status}"
    message = f"{kind}: {error.message[:500]}"
    is_empty_account = has_meaning("credit", "", error.codes) or (means("credit") and not means("rate"))
    if status == 402 or is_empty_account:
        return Failure(kind, message, "The account has no credit left: add some, then resume.", ModelUnavailableError)
    if status < 500 and status not in (401, 404, 429) and means("filter"):
        remedy = "The server's content filter refused this conversation."
        return Failure("content filter", message, remedy, ContentFilterError)
    if status not in (401, 404, 429) and means("overflow"):
        return Failure(kind, message, "", ContextOverflowError)
    is_loading = means("loading")
    if status in _RETRIED_STATUSES or status >= 500 or status == 200 or is_loading:
        lower = "Lower the load (client={'max_concurrency': N}, or requests_per_minute), then resume."
        return Failure(
            kind,
            message,
            lower if status == 429 else "Look at the server's log.",
            may_pass=True,
            is_outage=is_loading or status in _UNAVAILABLE_STATUSES,
            maybe_paid=status in _MAYBE_PAID_STATUSES,
            overload=status in _OVERLOAD_STATUSES,
            retry_after_s=_read_retry_after(headers),
        )
    if status in (401, 403):
        remedy = "Check the key: set OPENAI_API_KEY, or name its variable with api_key_env."
        return Failure(kind, message, remedy, ModelUnavailableError)
    if status in (404, 405) and not means("no tools"):  # the model is there, and takes no tools
        remedy = "Check the model's name (GET {base_url}/models lists them) and that base_url ends in /v1."
        return Failure(kind, message, remedy, ModelUnavailableError)
    # A gateway that passes on its server's words may name the parameter only there.
    names = (error.parameter, *re.findall(r"""['"`](\w+)['"`]""", error.message))
    parameter = next((name for name in names if name in sent and name not in REFUSED_SAMPLING), "")
    refused = {parameter: None}
    remedy = f"The server refuses the request: remove refused parameters with sampling={refused}."
    if not parameter:
        remedy = "The server refuses the request: if it names a parameter, give that the value None in sampling."
    return Failure(kind, message, remedy, parameter=parameter or error.parameter)


def _read_retry_after(headers: Any) -> float | None:
    """Return `retry-after-ms`, or `Retry-After` (seconds or a date), in seconds; None for zero, the past, no number."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        value = str(headers.get(name) or "")
        try:
            seconds = float(value) * unit
        except ValueError:
            try:
                date = email.utils.parsedate_to_datetime(value)
                # Without a zone (or with -0000) a date is meant in UTC.
                seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - time.time()
            except (ValueError, TypeError, OverflowError):
                continue
        if math.isfinite(seconds) and seconds > 0:
            return seconds
    return None
