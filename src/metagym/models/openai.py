"""A client for any server that speaks the OpenAI protocol (OpenAI, vLLM, SGLang, Ollama, llama.cpp)."""

from __future__ import annotations

import asyncio
import logging
import os
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from metagym.background import LOOP
from metagym.budget import Ledger
from metagym.errors import ConfigError, ModelUnavailableError
from metagym.extensions import Extension
from metagym.models.asking import Booking, estimate_tokens, max_tokens
from metagym.models.chat import Call
from metagym.models.client_config import PLACEHOLDER_KEY, ClientConfig, find_key
from metagym.models.pacing import AdaptiveLimiter, Breaker, Retrier, Signal
from metagym.models.server_failures import AttemptFailedError, read_failure
from metagym.models.server_replies import read_completion
from metagym.types import Completion, Message, clean_text

if TYPE_CHECKING:
    from openai import AsyncOpenAI

logger = logging.getLogger(__name__)

DEFAULT_SAMPLING: Mapping[str, Any] = {"temperature": 0.0, "max_tokens": 500}
DEFAULT_CLIENT = ClientConfig()


class OpenAIChatModel(Extension):
    """A chat model behind an OpenAI-compatible server.

    `sampling` goes into each request unchanged, over the defaults temperature 0 and 500 tokens; the value None
    removes a default (or the `seed`). `OPENAI_API_KEY` is sent only to the SDK's own address or OPENAI_BASE_URL; a
    `base_url` that is given here gets the key in the environment variable `api_key_env`, or a placeholder.

    `timeout_s` limits each attempt, in seconds. Connection errors, time-outs, broken replies and the statuses 408,
    409, 429 and 5xx are retried, at most `max_retries` times; everything else fails at once. `client` holds the
    finer limits. Every attempt is booked in the open ledger, else in `ledger`.

    >>> OpenAIChatModel("Qwen/Qwen3-8B", base_url="http://localhost:8000/v1").sampling
    {'temperature': 0.0, 'max_tokens': 500}

    Raises:
        ConfigError: there is no key, or `base_url` is no URL.
    """

    keeps_ledger = True

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key_env: str | None = None,
        sampling: Mapping[str, Any] | None = None,
        timeout_s: float = 120.0,
        max_retries: int = 8,
        client: ClientConfig = DEFAULT_CLIENT,
    ) -> None:
        self._arguments = (model, base_url, api_key_env, sampling, timeout_s, max_retries, client)
        if not model:
            raise ConfigError("model must name a model, got an empty text. Ask the server: GET {base_url}/models.")
        if timeout_s <= 0 or max_retries < 0:
            raise ConfigError(f"Expected timeout_s > 0 and max_retries >= 0, got {timeout_s} and {max_retries}.")
        self.model = model
        self.base_url = base_url or os.environ.get("OPENAI_BASE_URL") or None
        if self.base_url is not None and urlsplit(self.base_url).scheme not in ("http", "https"):
            raise ConfigError(f"base_url must be a URL such as 'http://localhost:8000/v1', got {self.base_url!r}.")
        self._api_key = PLACEHOLDER_KEY if client.offline else find_key(base_url, self.base_url, api_key_env)
        self.sampling = _merge_sampling(sampling or {})
        limits = (self.sampling.get("max_completion_tokens"), self.sampling.get("max_tokens"))
        self.max_reply_tokens = next((limit for limit in limits if isinstance(limit, int)), None)
        self.timeout_s, self.max_retries, self.client, self.prices = timeout_s, max_retries, client, client.prices
        # What decides the replies. It holds no key.
        self.fingerprint = {"model": model, "base_url": self.base_url, "sampling": dict(self.sampling)}
        self.ledger = Ledger()
        server = f"model {model!r} at {self.base_url or 'the OpenAI API'}"
        self._retrier = Retrier(server, max_retries=max_retries, config=client, breaker=Breaker(client))
        # Newer OpenAI models take the token limit under another name; the first refusal names it.
        self._renamed: dict[str, str] = {}
        self._logged_names: set[str] = set()
        # An HTTP client and its waiting calls belong to the event loop that they were made on.
        self._connections: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Connection] = (
            weakref.WeakKeyDictionary()
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # No key travels: each process takes it from its own environment.
        return _make_again, (self.base_url, *self._arguments)

    async def complete(self, messages: Sequence[Message], call: Call) -> Completion:
        """Return the server's reply; see `ChatModel.complete`.

        Raises:
            BudgetExceededError: the ledger's budget leaves no room for the call.
            ModelUnavailableError: no call can succeed; the run should stop.
        """
        booking = Booking(call, model=self.model, prices=self.prices, fallback=self.ledger)
        connection = self._connect()
        sampling = {"seed": call.seed, **self.sampling}
        # A lone surrogate cannot be sent; it is replaced as in a reply.
        sent = [{**message, "content": clean_text(message["content"])} for message in messages]
        request = {"model": self.model, "messages": sent}
        request |= {name: value for name, value in sampling.items() if value is not None}
        completion = await self._retrier.run(lambda: self._attempt(connection, request, booking))
        if completion.model and completion.model not in self._logged_names:
            self._logged_names.add(completion.model)
            logger.log(
                # Servers answer with a dated snapshot of the name; any other name may be another model.
                logging.INFO if completion.model.startswith(self.model) else logging.WARNING,
                "Asked for model %r, the server answers as %r.",
                self.model,
                completion.model,
            )
        return completion

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        LOOP.remove_closer(self.aclose)
        connection = self._connections.pop(asyncio.get_running_loop(), None)
        if connection is not None:
            await connection.sdk.close()

    async def _attempt(self, connection: _Connection, request: dict[str, Any], booking: Booking) -> Completion:
        """Ask once, within the limits; the ledger books the attempt whatever happens.

        Raises:
            AttemptFailedError: it failed in a known way.
        """
        messages, limit = request["messages"], self.max_reply_tokens
        grant = await connection.limiter.acquire(estimate_tokens(messages) + (limit or 0))
        signal: Signal = "other"
        num_tokens = None
        try:
            await booking.reserve(max_tokens(messages), limit)
            body = {self._renamed.get(name, name): value for name, value in request.items()}
            try:
                async with asyncio.timeout(self.timeout_s):
                    reply = await connection.sdk.post("/chat/completions", body=body, cast_to=bytes)
                completion, is_counted = read_completion(reply, self.model)
            except Exception as error:
                failure = read_failure(error, timeout_s=self.timeout_s)
                if failure is None:
                    raise
                if failure.retry_after_s is not None:
                    connection.limiter.pause(min(failure.retry_after_s, self.client.max_retry_s))
                signal = "overload" if failure.overload else "other"
                (booking.unknown if failure.maybe_paid else booking.refused)(f"{failure.kind}: {failure.message}")
                if self._rename(failure.parameter, failure.message):
                    failure = failure._replace(may_pass=True)
                raise AttemptFailedError(failure) from error
            signal = "success"
            if is_counted:
                num_tokens = completion.usage.prompt_tokens + completion.usage.completion_tokens
                booking.whole(completion.usage)
            else:
                booking.unknown("the server did not count it")
            return completion
        except BaseException as error:
            booking.unknown(f"{type(error).__name__}: {error}")  # a cancelled call; settled ones stay settled
            raise
        finally:
            connection.limiter.release(grant, signal, num_tokens)

    def _rename(self, parameter: str, message: str) -> bool:
        """Adopt the server's own name of the token limit; return whether that changes the next request."""
        is_limit = parameter == "max_tokens" and "max_completion_tokens" in message
        if not is_limit or "max_tokens" in self._renamed or "max_tokens" not in self.sampling:
            return False
        self._renamed["max_tokens"] = "max_completion_tokens"
        return True

    def _connect(self) -> _Connection:
        if self.client.offline:
            raise ModelUnavailableError(
                f"Model {self.model!r} is offline (client={{'offline': True}}): it makes no calls."
            )
        loop = asyncio.get_running_loop()
        connection = self._connections.get(loop)
        if connection is None:
            import openai

            first_byte_s = self.client.first_byte_timeout_s or self.timeout_s
            sdk = openai.AsyncOpenAI(
                api_key=self._api_key,
                base_url=self.base_url,
                timeout=openai.Timeout(self.timeout_s, connect=self.client.connect_timeout_s, read=first_byte_s),
                max_retries=0,  # `pacing` retries
                http_client=openai.DefaultAioHttpClient(),
            )
            limiter = AdaptiveLimiter(
                self.client.max_concurrency,
                requests_per_minute=self.client.requests_per_minute,
                tokens_per_minute=self.client.tokens_per_minute,
            )
            connection = self._connections[loop] = _Connection(sdk, limiter)
            if LOOP.owns(loop):
                LOOP.add_closer(self.aclose)
        return connection


def _make_again(address: str | None, model: str, *arguments: Any) -> OpenAIChatModel:
    """Make a model with the same arguments in another process.

    Raises:
        ConfigError: it would ask another server there, or there is no key.
    """
    names = ("base_url", "api_key_env", "sampling", "timeout_s", "max_retries", "client")
    made = OpenAIChatModel(model, **dict(zip(names, arguments, strict=True)))
    if made.base_url != address:
        raise ConfigError(
            f"Expected the server {address or 'of the OpenAI API'}, as in the first process, got {made.base_url!r} "
            "from this process's OPENAI_BASE_URL. Give base_url in the actor's mapping, or set the variable on all "
            "machines."
        )
    return made


class _Connection(NamedTuple):
    """The connections of one event loop to the server, and their limits."""

    sdk: AsyncOpenAI
    limiter: AdaptiveLimiter


def _merge_sampling(sampling: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**DEFAULT_SAMPLING, **sampling}
    if merged.get("max_completion_tokens") is not None and "max_tokens" not in sampling:
        del merged["max_tokens"]
    # The seed is no default: it comes with each call, and None removes it.
    return {name: value for name, value in merged.items() if value is not None or name == "seed"}
