"""A client for any server that speaks the OpenAI protocol."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import weakref
from collections.abc import Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from metagym.background import LOOP
from metagym.budget import Ledger
from metagym.errors import ConfigError, ModelUnavailableError, UnknownNameError, in_words
from metagym.models import tool_calling
from metagym.models.asking import Booking, Retrier, conversation_of, estimate_tokens, max_tokens
from metagym.models.chat import Call
from metagym.models.client_config import (
    PLACEHOLDER_KEY,
    ClientConfig,
    find_key,
    merge_sampling,
    read_base_url,
)
from metagym.models.constraint import FIELDS, QUESTION, Constrainer, HeldModel, ReplyForm
from metagym.models.server_failures import INCOMPLETE, AttemptFailedError, Breaker, LateError, read_failure
from metagym.models.server_profile import AdaptiveLimiter, ServerProfile, Signal, SystemRole
from metagym.models.server_replies import end_at, read_completion
from metagym.models.server_streams import is_stream, is_whole_stream
from metagym.models.tool_calling import ModelWithTools, Tools, ToolSender
from metagym.optional_attributes import Extension
from metagym.types import Completion, Message, clean_text

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    _Connection = tuple[AsyncOpenAI, AdaptiveLimiter]


logger = logging.getLogger(__name__)

DEFAULT_CLIENT = ClientConfig()
_MASK = "***"
_ENDS = (b"\ndata: [DONE]", b"\ndata:[DONE]")
_AFTER_END_S = 1.0
_SECRET_FROM = 8  # characters: servers that need no key are given words such as "EMPTY", which replies may hold


class OpenAIChatModel(Extension):
    """A chat model behind an OpenAI-compatible server.

    `sampling` goes into each request unchanged, over the default of 4,096 tokens for a reply; the value None removes
    the default (or the `seed`, or the caller's `stop`). `OPENAI_API_KEY` is sent only to the SDK's own address or
    OPENAI_BASE_URL; a `base_url` that is given here gets the key in the environment variable `api_key_env`, or a
    placeholder. `system_role` says whether the system message is sent as one or at the head of the first user message;
    by default the server's first refusal decides.

    Replies are streamed if the server can. `timeout_s` limits the silence of the server, in seconds: not the whole
    reply. Connection errors, time-outs, broken replies and the statuses 408, 409, 429 and 5xx are retried, at most
    `max_retries` times; everything else fails at once. `client` holds the finer limits. Every attempt is booked in the
    open ledger, else in `ledger`.

    >>> OpenAIChatModel("Qwen/Qwen3-8B", base_url="http://localhost:8000/v1").sampling
    {'max_tokens': 4096}
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
        system_role: SystemRole = "auto",
        client: ClientConfig = DEFAULT_CLIENT,
    ) -> None:
        self._arguments = (model, base_url, api_key_env, sampling, timeout_s, max_retries, system_role, client)
        if not model:
            raise ConfigError("model must name a model, got an empty text. Ask the server: GET {base_url}/models.")
        if timeout_s <= 0 or max_retries < 0:
            raise ConfigError(f"Expected timeout_s > 0 and max_retries >= 0, got {timeout_s} and {max_retries}.")
        if system_role not in get_args(SystemRole):
            raise UnknownNameError.of("system_role", system_role, get_args(SystemRole))
        self.model = model
        self.base_url = base_url or os.environ.get("OPENAI_BASE_URL") or None
        self._address, self._query = read_base_url(self.base_url)
        self._headers: dict[str, str] = {}
        self._api_key = PLACEHOLDER_KEY if client.offline else find_key(base_url, self.base_url, api_key_env)
        self._has_secret = self._api_key != PLACEHOLDER_KEY and len(self._api_key) >= _SECRET_FROM
        self.sampling = merge_sampling(sampling or {})
        limits = [limit for name in ("max_completion_tokens", "max_tokens") if (limit := self.sampling.get(name))]
        num_replies = max(self.sampling.get("n", 1), self.sampling.get("best_of", 1))  # all of them are paid
        self.max_reply_tokens = max(limits) * num_replies if limits else None
        self.timeout_s, self.max_retries, self.client, self.prices = timeout_s, max_retries, client, client.prices
        # All that decides the replies. It holds no key.
        self.fingerprint = {"model": model, "base_url": self.base_url, "sampling": dict(self.sampling)}
        if system_role != "auto":
            self.fingerprint["system_role"] = system_role
        self.ledger = Ledger()
        server = f"model {model!r} at {self.base_url or 'the OpenAI API'}"
        self._retrier = Retrier(server, max_retries=max_retries, config=client, breaker=Breaker(client))
        self._profile = ServerProfile(system_role, stream=client.stream, own=self.sampling)
        self._constrainer, self._tool_sender = Constrainer(self.sampling), ToolSender(self.sampling)
        self._limits = TimeLimits(timeout_s, client.first_byte_timeout_s or timeout_s, client.reply_timeout_s)
        self._logged_names: set[str] = set()
        # An HTTP client and its waiting calls belong to the event loop that they were made on.
        self._connections: MutableMapping[asyncio.AbstractEventLoop, _Connection] = weakref.WeakKeyDictionary()

    def __reduce__(self) -> tuple[Any, ...]:
        # No key travels: each process takes it from its own environment.
        return _make_again, (type(self), self.base_url, *self._arguments)

    @property
    def sends_reasoning(self) -> bool:
        """Whether the server wants the reasoning of earlier turns back; some servers say so at the first such turn."""
        return self._profile.wants_reasoning

    def held_to(self, form: ReplyForm) -> HeldModel:
        """Return this model with its replies held to a form, if the server can."""
        self._constrainer.check()
        return HeldModel(self, form)

    def with_tools(self, tools: Tools, *, held: bool = False) -> ModelWithTools:
        """Return this model with tools that it may call, natively if the server can, else as text.

        With `held`, its replies are held to one call or an answer, if the server can.
        """
        self._tool_sender.check()
        if held:
            self._constrainer.check()
        return ModelWithTools(self, tools, about=self, held=held)

    async def complete(
        self,
        messages: Sequence[Message],
        call: Call,
        *,
        form: ReplyForm | None = None,
        tools: Tools | None = None,
        held: bool = False,
    ) -> Completion:
        """Return the server's reply; see `ChatModel.complete`. A ModelUnavailableError should stop the run."""
        if tools is not None:
            send = self._tool_sender.complete
            return await send(messages, tools, lambda sent, fields: self._complete(sent, call, fields), held=held)
        if form is None:
            return await self._complete(messages, call, {})
        means = await self._constrainer.find(lambda fields: self._complete(QUESTION, call, fields))
        completion = await self._complete(messages, call, {means: FIELDS[means](form)} if means else {})
        return completion.model_copy(update={"constraint": means})

    async def _complete(self, messages: Sequence[Message], call: Call, fields: Mapping[str, Any]) -> Completion:
        # A server may refuse such a question by a failure that looks as if it could pass.
        is_question = messages is QUESTION or messages is tool_calling.QUESTION
        if is_question:  # so that the answer does not depend on which call asks first
            call = call._replace(seed=0, repetition=0)
        booking = Booking(call, model=self.model, prices=self.prices, fallback=self.ledger)
        sdk, limiter = self._connect()
        sampling = {"seed": call.seed, "stop": list(call.stop) or None, **self.sampling}
        # A lone surrogate cannot be sent; it is replaced as in a reply.
        sent: list[Message] = [{**message, "content": clean_text(message["content"])} for message in messages]
        request = {"model": self.model, "messages": sent}
        request |= {name: value for name, value in sampling.items() if value is not None} | dict(fields)
        retrier = self._retrier.for_question() if is_question else self._retrier
        completion = await retrier.run(lambda: self._attempt(sdk, limiter, request, booking))
        if call.stop and "stop" not in self.sampling:
            completion = end_at(completion, call.stop)
        if completion.model and completion.model not in self._logged_names:
            self._logged_names.add(completion.model)
            # Servers answer with a dated snapshot of the name; any other name may be another model.
            level = logging.INFO if completion.model.startswith(self.model) else logging.WARNING
            logger.log(level, "Asked for model %r, the server answers as %r.", self.model, completion.model)
        return completion

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        LOOP.remove_closer(self.aclose)
        connection = self._connections.pop(asyncio.get_running_loop(), None)
        if connection is not None:
            await connection[0].close()

    async def _attempt(
        self, sdk: AsyncOpenAI, limiter: AdaptiveLimiter, request: dict[str, Any], booking: Booking
    ) -> Completion:
        """Ask once, within the limits; the ledger books the attempt whatever happens."""
        # The form that is sent: reasoning that stays here is not counted.
        messages, limit = conversation_of(self._profile.body(request)), self.max_reply_tokens
        grant = await limiter.acquire(estimate_tokens(messages) + (limit or 0))
        signal: Signal = "other"
        num_tokens = None
        try:
            await booking.reserve(max_tokens(messages), limit)
            body = self._profile.body(request)
            try:
                answer = await self._exchange(sdk, body)
                if self._has_secret:  # a server may repeat the key
                    answer = answer.replace(self._api_key.encode(), _MASK.encode())
                completion, is_counted = read_completion(answer, self.model)
                if self._has_secret:  # JSON may have spelled it in another way
                    completion = self._without_key(completion)
            except Exception as error:
                failure = read_failure(error, body)
                is_leak = self._has_secret and self._api_key in f"{failure.message} {failure.remedy} {error!r}"
                if is_leak:
                    texts = {name: getattr(failure, name) for name in ("message", "remedy", "parameter")}
                    failure = failure._replace(**{n: text.replace(self._api_key, _MASK) for n, text in texts.items()})
                if failure.retry_after_s is not None:
                    limiter.pause(min(failure.retry_after_s, self.client.max_retry_s))
                signal = "overload" if failure.overload else "other"
                (booking.unknown if failure.maybe_paid else booking.refused)(f"{failure.kind}: {failure.message}")
                is_lesson = self._profile.learn_failure(failure, request, body)
                # A traceback would show the key.
                raise AttemptFailedError(failure._replace(is_lesson=is_lesson)) from (None if is_leak else error)
            signal = "success"
            if is_counted:
                completion = booking.whole(completion)
                num_tokens = completion.usage.prompt_tokens + completion.usage.completion_tokens
            else:
                booking.unknown("the server did not count it")
            if self._profile.learn_reply(completion, body, is_stream=is_stream(answer), is_counted=is_counted):
                raise AttemptFailedError(INCOMPLETE)
            return completion
        except BaseException as error:
            booking.unknown(f"{type(error).__name__}: {error}")  # a cancelled call; settled ones stay settled
            raise
        finally:
            limiter.release(grant, signal, num_tokens)

    async def _exchange(self, sdk: AsyncOpenAI, body: dict[str, Any]) -> bytes:
        """Send a request, and return the whole answer."""
        return await exchange(sdk, body, self._limits)

    def _without_key(self, completion: Completion) -> Completion:
        texts = {name: getattr(completion, name) for name in ("text", "reasoning", "model", "finish_reason")}
        texts = {name: text.replace(self._api_key, _MASK) for name, text in texts.items() if self._api_key in text}
        calls = tuple(call.replace(self._api_key, _MASK) for call in completion.tool_calls)
        is_leak = texts or calls != completion.tool_calls
        return completion.model_copy(update={**texts, "tool_calls": calls}) if is_leak else completion

    def _connect(self) -> _Connection:
        if self.client.offline:
            raise ModelUnavailableError(f"Model {self.model!r} is offline (client={{'offline': True}}): no call.")
        loop = asyncio.get_running_loop()
        connection = self._connections.get(loop)
        if connection is None:
            try:
                sdk = self.client.connect(self._api_key, self._address, query=self._query, headers=self._headers)
            except Exception as error:  # the HTTP library checks an address in its own way
                raise ModelUnavailableError(f"base_url cannot be used: {in_words(error)}. Correct it.") from error
            limits = self.client.model_dump(include={"requests_per_minute", "tokens_per_minute"})
            limiter = AdaptiveLimiter(self.client.max_concurrency, **limits)
            connection = self._connections[loop] = sdk, limiter
            if LOOP.owns(loop):
                LOOP.add_closer(self.aclose)
        return connection


def _make_again(kind: type[OpenAIChatModel], address: str | None, model: str, *arguments: Any) -> OpenAIChatModel:
    """Make a model with the same arguments in another process, if it asks the same server there."""
    names = ("base_url", "api_key_env", "sampling", "timeout_s", "max_retries", "system_role", "client")
    made = kind(model, **dict(zip(names, arguments, strict=True)))
    if made.base_url != address:
        raise ConfigError(
            f"Expected the server {address or 'of the OpenAI API'}, as in the first process, got {made.base_url!r} "
            "from this process's OPENAI_BASE_URL. Give base_url in the actor's mapping, or set the variable on all "
            "machines."
        )
    return made


class TimeLimits(NamedTuple):
    """The limits of one exchange, in seconds."""

    silence: float
    """Without a byte from the server, after the first one."""
    first_byte: float
    """Until the first byte of the reply: some servers send the head of their answer at once."""
    whole: float
    """For the whole answer, even if it never pauses."""


async def exchange(sdk: AsyncOpenAI, body: dict[str, Any], limits: TimeLimits) -> bytes:
    """Send a chat request, and return the whole answer as bytes, a stream or not.

    A stream that breaks after its end is whole. Every other failure is raised as the SDK, the HTTP library or the
    system raise it; a limit of time is a `LateError`.
    """
    now = asyncio.get_running_loop().time
    ends_at = now() + limits.whole
    task = asyncio.current_task()
    num_cancels = task.cancelling() if task else 0
    answer, is_complete = bytearray(), False
    try:
        async with asyncio.timeout(min(limits.first_byte, limits.whole)) as timer:
            opened = await sdk.post("/chat/completions", body=body, cast_to=object, stream=True, stream_cls=_opened())
            try:
                async for part in opened.response.aiter_bytes():
                    answer += part
                    # The connection ends right after the stream, or is not worth waiting for.
                    silence = _AFTER_END_S if answer[-32:].rstrip().endswith(_ENDS) else limits.silence
                    timer.reschedule(min(now() + silence, ends_at))
                is_complete = True
            finally:
                with contextlib.suppress(Exception):  # the reply is whole, or its own failure counts
                    await opened.response.aclose()
    except Exception as error:
        if task and task.cancelling() > num_cancels:  # the connection failed to close after the call was cancelled
            raise asyncio.CancelledError from error
        if is_complete or is_whole_stream(bytes(answer)):
            return bytes(answer)
        if timer.expired():
            raise LateError(_remedy(limits, is_begun=bool(answer), is_late=now() >= ends_at)) from error
        raise
    return bytes(answer)


def _remedy(limits: TimeLimits, *, is_begun: bool, is_late: bool) -> str:
    if is_late:
        return f"The reply took longer than {limits.whole:g} s: lower max_tokens, or raise client.reply_timeout_s."
    if is_begun:
        return f"It sent nothing for {limits.silence:g} s within a reply: check the server, or raise timeout_s."
    return f"It did not answer within {limits.first_byte:g} s: check the server, or raise timeout_s."


@functools.cache
def _opened() -> Any:
    """Return the class in which the SDK returns a response whose body is not read yet."""
    import openai

    class Opened(openai.AsyncStream[Any]):
        def __init__(self, *, response: Any, **rest: Any) -> None:
            self.response = response

    return Opened
