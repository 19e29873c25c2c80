"""A client for any server that speaks the OpenAI protocol (OpenAI, vLLM, SGLang, Ollama, llama.cpp)."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import tenacity

from metagym.background import LOOP
from metagym.errors import ConfigError, ContextOverflowError, ModelError
from metagym.models.chat import Call
from metagym.types import Completion, Message, Usage, clean_text

if TYPE_CHECKING:
    from openai import AsyncOpenAI

logger = logging.getLogger(__name__)

DEFAULT_SAMPLING: Mapping[str, Any] = {"temperature": 0.0, "max_tokens": 500}
PLACEHOLDER_KEY = "no-key"  # the SDK refuses to start without one, even for a server that wants none

_OVERFLOW_SIGNS = (
    "context_length_exceeded",
    "maximum context length",
    "context window",
    "context size",
    "context length",
    "prompt is too long",
)
_EXPECTED = "Expected a chat completion with one choice"
_CHECK_URL = "Check that base_url is an OpenAI-compatible server's /v1."
_RETRIED_STATUSES = frozenset({408, 409, 429})


class OpenAIChatModel:
    """A chat model behind an OpenAI-compatible server.

    `sampling` goes into each request as it is, over the defaults temperature 0 and 500 tokens; a value
    of None takes a default out. `OPENAI_API_KEY` goes to the SDK's own `base_url` only: a `base_url` that
    is given here gets the key in the environment variable `api_key_env`, or a placeholder.

    Connection errors, time-outs and the statuses 408, 409, 429 and 5xx are tried again, at most
    `max_retries` times, with exponentially growing pauses; everything else fails at once.

    Raises:
        ConfigError: no key is to be found, or `base_url` is no URL.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key_env: str | None = None,
        sampling: Mapping[str, Any] | None = None,
        timeout_s: float = 120.0,
        max_retries: int = 4,
    ) -> None:
        if not model:
            raise ConfigError("model must name a model, got an empty text. Ask the server: GET {base_url}/models.")
        if timeout_s <= 0 or max_retries < 0:
            raise ConfigError(f"Expected timeout_s > 0 and max_retries >= 0, got {timeout_s} and {max_retries}.")
        self.model = model
        self.base_url = base_url or os.environ.get("OPENAI_BASE_URL") or None
        if self.base_url is not None and urlsplit(self.base_url).scheme not in ("http", "https"):
            raise ConfigError(f"base_url must be a URL such as 'http://localhost:8000/v1', got {self.base_url!r}.")
        self._api_key = _find_key(base_url, self.base_url, api_key_env)
        self.sampling = _merge_sampling(sampling or {})
        self.timeout_s, self.max_retries = timeout_s, max_retries
        # An HTTP client belongs to the event loop that it was made on.
        self._clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncOpenAI] = weakref.WeakKeyDictionary()

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What decides the replies: model, server and sampling. No key."""
        return {"model": self.model, "base_url": self.base_url, "sampling": dict(self.sampling)}

    async def complete(self, messages: Sequence[Message], call: Call) -> Completion:
        """Return the server's reply; see `ChatModel.complete`."""
        import openai

        client = self._client()
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(_is_passing),
            stop=tenacity.stop_after_attempt(self.max_retries + 1),
            wait=tenacity.wait_random_exponential(multiplier=0.5, max=20),
            before_sleep=tenacity.before_sleep_log(logger, logging.WARNING),
            reraise=True,
        )
        sampling = {"seed": call.seed, **self.sampling}
        request = {name: value for name, value in sampling.items() if value is not None}
        # A lone surrogate cannot be sent; in a reply it is replaced in the same way.
        sent: Any = [{**message, "content": clean_text(message["content"])} for message in messages]
        try:
            async for attempt in retrying:
                with attempt:
                    response: Any = await client.chat.completions.create(model=self.model, messages=sent, **request)
        except openai.OpenAIError as error:
            raise self._explain(error) from error
        except ValueError as error:  # the SDK lets the JSON decoder's error through
            raise ModelError(f"{_EXPECTED}, got text that is no JSON ({error}). {_CHECK_URL}") from error
        return _read(response)

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()

    def _client(self) -> AsyncOpenAI:
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            import openai

            client = self._clients[loop] = openai.AsyncOpenAI(
                api_key=self._api_key,
                base_url=self.base_url,
                timeout=self.timeout_s,
                max_retries=0,  # the policy is ours, in `complete`
                http_client=openai.DefaultAioHttpClient(),
            )
            if LOOP.owns(loop):
                LOOP.at_close(self.aclose)
        return client

    def _explain(self, error: Exception) -> ModelError:
        """Say what failed, where, and what to do about it."""
        import openai

        where = f"model {self.model!r} at {self.base_url or 'the OpenAI API'}"
        text = str(error).lower()
        refusal = _refusal(error)
        if refusal is not None:
            remedy = "Nothing answers there: start the server, or mend base_url."
            return ModelError(f"Expected a reply from {where}, got {type(refusal).__name__}: {refusal}. {remedy}")
        if isinstance(error, openai.APITimeoutError):
            remedy = f"It did not answer within {self.timeout_s:g} s: check the server, or raise timeout_s."
        elif isinstance(error, openai.APIConnectionError):
            remedy = "The connection broke: look at the server's log."
        elif isinstance(error, openai.BadRequestError) and any(sign in text for sign in _OVERFLOW_SIGNS):
            return ContextOverflowError(f"The conversation is too long for {where}: {error}")
        elif isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            remedy = "Check the key: set OPENAI_API_KEY, or name its variable with api_key_env."
        elif isinstance(error, openai.NotFoundError):
            remedy = "Check the model's name (GET {base_url}/models lists them) and that base_url ends in /v1."
        elif isinstance(error, openai.BadRequestError | openai.UnprocessableEntityError):
            remedy = "The server refuses the request: take refused parameters out with sampling={'name': None}."
        else:
            remedy = f"Tried {self.max_retries + 1} times." if _is_passing(error) else "Look at the server's log."
        return ModelError(f"Expected a reply from {where}, got {type(error).__name__}: {error}. {remedy}")


def model_from_environment() -> dict[str, Any] | None:
    """Return the model that METAGYM_MODEL names, as a mapping for `OpenAIChatModel`; None where nothing is set.

    Raises:
        ConfigError: there is a key but no model.
    """
    if name := os.environ.get("METAGYM_MODEL"):
        return {"model": name}
    if os.environ.get("OPENAI_API_KEY"):
        raise ConfigError(
            "OPENAI_API_KEY is set, but no model is named: expected METAGYM_MODEL, or actor={'model': ...}. "
            "Set METAGYM_MODEL, or say actor='demo' for the scripted offline actor."
        )
    return None


def _find_key(given_url: str | None, url: str | None, api_key_env: str | None) -> str:
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
        "Expected a key or a server, got neither. Set OPENAI_API_KEY, or give base_url for a server of your own "
        "(base_url='http://localhost:8000/v1')."
    )


def _merge_sampling(sampling: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**DEFAULT_SAMPLING, **sampling}
    if merged.get("max_completion_tokens") is not None and "max_tokens" not in sampling:
        del merged["max_tokens"]
    # The seed is no default: it comes with each call, and None keeps it back.
    return {name: value for name, value in merged.items() if value is not None or name == "seed"}


def _is_passing(error: BaseException) -> bool:
    """Whether a failure may pass by itself."""
    import openai

    if isinstance(error, openai.APIConnectionError):  # time-outs are among them
        return True
    status = getattr(error, "status_code", None)
    return isinstance(status, int) and (status in _RETRIED_STATUSES or status >= 500)


def _refusal(error: BaseException) -> OSError | None:
    """Return the operating system's word that there is no connection; None where it said none.

    The SDK's aiohttp transport reports a refused connection as a time-out, so the chain of causes is asked.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionRefusedError | socket.gaierror):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


def _read(response: Any) -> Completion:
    """Turn the SDK's response into a completion.

    Raises:
        ModelError: it holds no message.
    """
    choices, usage = getattr(response, "choices", None), getattr(response, "usage", None)
    choice: Any = choices[0] if choices and isinstance(choices, list) else None
    message = getattr(choice, "message", None)
    text = getattr(message, "content", 0)  # None is an empty text; without the field there is no message
    if not isinstance(text, str | None):
        raise ModelError(f"{_EXPECTED}, got {str(response)[:200]!r}. {_CHECK_URL}")
    details = getattr(usage, "prompt_tokens_details", None)
    return Completion(
        text=clean_text(text or ""),
        reasoning=clean_text(getattr(message, "reasoning_content", None) or ""),
        finish_reason=choice.finish_reason or "stop",
        usage=Usage(
            prompt_tokens=getattr(usage, "prompt_tokens", 0) or 0,
            cached_tokens=getattr(details, "cached_tokens", 0) or 0,
            completion_tokens=getattr(usage, "completion_tokens", 0) or 0,
            num_calls=1,
        ),
    )
