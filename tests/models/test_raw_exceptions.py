"""Nothing raw comes out of a call: every exception that the SDK and the libraries below it can raise is one of ours.

The classes are found by introspection, so that a new version of the SDK is covered.
"""

from __future__ import annotations

import asyncio
import copy
import importlib
import inspect
import json
import pickle
import ssl
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import aiohttp
import aiohttp.http_exceptions
import anyio
import openai
import pytest

from metagym import OpenAIChatModel
from metagym.errors import ConfigError, MetaGymError, ModelError, ModelUnavailableError
from metagym.models import ClientConfig
from metagym.models.openai import TimeLimits, exchange
from metagym.models.server_replies import ServerError, read_completion, read_error
from tests.models.calling import CALL, ENDED, MESSAGES, complete, sse

# The SDK's generation of httpx: `httpx` up to openai 2, `httpx2` from openai 3 on.
HTTP: Any = next(
    importlib.import_module(kind.__module__.partition(".")[0])
    for kind in openai.DefaultAioHttpClient.__mro__
    if kind.__name__ == "AsyncClient"
)
PACKAGES = ("openai", HTTP.__name__, "aiohttp", "anyio", "json", "ssl", "socket", "zlib", "asyncio", "builtins")
POINTS = ("create", "stream", "iterate", "close")
REQUEST = HTTP.Request("POST", "http://x/v1/chat/completions")
KEY = SimpleNamespace(host="x", port=1, ssl=True, is_ssl=False)
ARGUMENTS: dict[str, Any] = {
    "request": REQUEST,
    "response": HTTP.Response(500, request=REQUEST, content=b"{}"),
    "body": None,
    "pos": 0,
    "connection_key": KEY,
    "os_error": OSError(111, "refused"),
    "certificate_error": ssl.SSLCertVerificationError("untrusted"),
    "request_info": SimpleNamespace(real_url="http://x", headers={}),
    "history": (),
    "port": 1,
    "completion": SimpleNamespace(usage=None),
    "exceptions": [OSError("inside")],
}
MADE = {
    "UnicodeDecodeError": UnicodeDecodeError("utf-8", b"x", 0, 1, "boom"),
    "UnicodeEncodeError": UnicodeEncodeError("utf-8", "x", 0, 1, "boom"),
    "UnicodeTranslateError": UnicodeTranslateError("x", 0, 1, "boom"),
    "ExceptionGroup": ExceptionGroup("boom", [OSError("inside")]),
    "JSONDecodeError": json.JSONDecodeError("boom", "{", 0),
}


def classes_of(package: str, kind: type[Exception] = Exception) -> Iterator[type[Exception]]:
    """Yield the exception classes of a package that are loaded, each once or more."""
    for child in kind.__subclasses__():
        root = child.__module__.partition(".")[0].lstrip("_")
        if root == package and not issubclass(child, Warning | MetaGymError):
            yield child
        yield from classes_of(package, child)


def instance_of(kind: type[Exception]) -> Exception:
    if kind.__name__ in MADE and kind.__module__ in ("builtins", "json.decoder"):
        return MADE[kind.__name__]
    try:
        parameters = inspect.signature(kind).parameters.values()
    except ValueError:  # one that is written in C
        return kind("boom")
    positional, named = [], {}
    for parameter in parameters:
        if parameter.default is not parameter.empty or parameter.kind in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        ):
            continue
        value = ARGUMENTS.get(parameter.name, "boom")
        if parameter.kind is parameter.KEYWORD_ONLY:
            named[parameter.name] = value
        else:
            positional.append(value)
    try:
        return kind(*positional, **named)
    except Exception:  # it wants an object of its own
        return kind.__new__(kind, "boom")


class Faulty(HTTP.AsyncBaseTransport):  # type: ignore[misc, name-defined]
    """Raises `error` once at `point`, and replies afterwards."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.point = ""
        self.num_requests = 0

    def fail(self, point: str) -> None:
        if self.error is not None and point == self.point:
            error, self.error = self.error, None
            raise error

    async def handle_async_request(self, request: Any) -> Any:
        self.num_requests += 1
        self.fail("create")
        return HTTP.Response(200, stream=FaultyStream(self), request=request)


class FaultyStream(HTTP.AsyncByteStream):  # type: ignore[misc, name-defined]
    def __init__(self, transport: Faulty) -> None:
        self.transport = transport

    async def __aiter__(self) -> AsyncIterator[bytes]:
        raw = sse(*ENDED).encode()
        self.transport.fail("stream")
        yield raw[:80]
        self.transport.fail("iterate")
        yield raw[80:]

    async def aclose(self) -> None:
        self.transport.fail("close")


class FaultyConfig(ClientConfig):
    def connect(self, *arguments: Any, **options: Any) -> openai.AsyncOpenAI:
        client = HTTP.AsyncClient(transport=TRANSPORT)
        return openai.AsyncOpenAI(api_key="k", base_url="http://x/v1", http_client=client, max_retries=0)


TRANSPORT = Faulty()
CONFIG = FaultyConfig(first_pause_s=0.0, max_pause_s=0.0, breaker_failures=10**6)


async def outcomes(point: str, kinds: list[type[Exception]]) -> dict[str, str]:
    """Return what a call ends with if its first attempt fails with each kind of exception."""
    model = OpenAIChatModel("m", base_url="http://x/v1", client=CONFIG)
    found, TRANSPORT.num_requests, TRANSPORT.point = {}, 0, point
    try:
        for kind in kinds:
            TRANSPORT.error = instance_of(kind)
            name = f"{kind.__module__}.{kind.__qualname__}"
            try:
                found[name] = (await model.complete(MESSAGES, CALL)).text
            except Exception as error:
                found[name] = type(error).__name__ if isinstance(error, ModelError) else f"RAW {error!r}"
            assert TRANSPORT.error is None, f"{name} was not raised at {point}"
    finally:
        await model.aclose()
    spent = model.ledger.spent()
    assert spent.usage.num_calls + spent.num_refused + spent.num_unknown == TRANSPORT.num_requests
    return found


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("package", PACKAGES)
def test_every_exception_is_one_of_ours(package: str, point: str) -> None:
    kinds = sorted({*classes_of(package)}, key=lambda kind: (kind.__module__, kind.__qualname__))
    assert kinds
    found = asyncio.run(outcomes(point, kinds))
    assert {name: end for name, end in found.items() if end not in ("ok", "ModelError", "ModelUnavailableError")} == {}
    if point == "close":  # the reply was read whole before
        assert set(found.values()) == {"ok"}


PASSING = (
    *(HTTP.TimeoutException, HTTP.NetworkError, HTTP.RemoteProtocolError, HTTP.DecodingError),
    *(openai.APIConnectionError, openai.InternalServerError),
    *(aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, aiohttp.ClientResponseError),
    *(aiohttp.http_exceptions.HttpProcessingError, anyio.EndOfStream, anyio.BrokenResourceError),
    *(OSError, EOFError, TimeoutError, json.JSONDecodeError),
)
FINAL = (ssl.SSLCertVerificationError, HTTP.UnsupportedProtocol, HTTP.InvalidURL, UnicodeEncodeError)


def with_children(kind: type[Exception]) -> set[type[Exception]]:
    found = {kind}.union(*map(with_children, kind.__subclasses__()))
    roots = {child: child.__module__.partition(".")[0].lstrip("_") for child in found}
    return {child for child in found if roots[child] in PACKAGES and not issubclass(child, MetaGymError)}


@pytest.mark.parametrize("point", ["create", "stream", "iterate"])
@pytest.mark.parametrize("kind", PASSING, ids=lambda kind: kind.__qualname__)
def test_what_may_pass_is_retried(kind: type[Exception], point: str) -> None:
    final = (*FINAL, aiohttp.InvalidURL, aiohttp.TooManyRedirects, aiohttp.ClientConnectorCertificateError)
    kinds = [child for child in with_children(kind) if not issubclass(child, final)]
    assert set(asyncio.run(outcomes(point, kinds)).values()) == {"ok"}


@pytest.mark.parametrize("point", ["create", "stream", "iterate"])
@pytest.mark.parametrize("kind", FINAL, ids=lambda kind: kind.__qualname__)
def test_what_cannot_pass_is_not_retried(kind: type[Exception], point: str) -> None:
    [end] = asyncio.run(outcomes(point, [kind])).values()
    assert end in ("ModelError", "ModelUnavailableError")
    assert TRANSPORT.num_requests == 1


@pytest.mark.parametrize("point", ["stream", "iterate"])
def test_a_fault_of_the_library_itself_is_not_retried(point: str) -> None:
    assert asyncio.run(outcomes(point, [KeyError])) == {"builtins.KeyError": "ModelError"}
    assert TRANSPORT.num_requests == 1


@pytest.mark.parametrize("levels", [300, 900, 3_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"error":', "}")])
def test_an_error_of_many_levels_is_one_of_ours(opening: str, closing: str, levels: int) -> None:
    assert isinstance(read_error(f'{{"error":{opening * levels}"x"{closing * levels}}}'.encode()), ServerError)


def test_an_error_with_half_a_character_can_be_printed() -> None:
    read_error(rb'{"error": {"message": "a \ud800 b"}}').message.encode()


HUGE = 10**400


@pytest.mark.parametrize("field", [{"token_ids": [HUGE]}, {"logprobs": {"content": [{"logprob": HUGE}]}}])
def test_a_number_too_large_for_a_float_is_left_out_of_the_reply(field: dict[str, Any]) -> None:
    choice = {"message": {"content": "ok"}, "finish_reason": "stop", **field}
    completion, _ = read_completion(json.dumps({"choices": [choice]}).encode(), "m")
    assert (completion.text, completion.token_ids, completion.logprobs) == ("ok", None, None)


@pytest.mark.parametrize(
    "url", ["http://[::1/v1", "http://x:99999/v1", "http://x:abc/v1", "http://a..b/v1", f"http://{'a' * 70}.com/v1"]
)
def test_an_address_that_no_library_takes_is_refused_at_once(url: str) -> None:
    with pytest.raises(ConfigError, match="base_url must be a URL such as"):
        OpenAIChatModel("m", base_url=url)


@pytest.mark.parametrize("host", ["256.256.256.256", "x\x00y"])
def test_an_address_that_the_http_library_refuses_stops_the_run(host: str) -> None:
    with pytest.raises(ModelUnavailableError, match=r"base_url cannot be used: InvalidURL"):
        complete(OpenAIChatModel("m", base_url=f"http://{host}/v1"))


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("value", [nested(5_000), "\ud800", {"a": "\udfff"}], ids=["deep", "half", "half inside"])
def test_a_field_of_sampling_that_cannot_be_sent_is_refused_at_once(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"sampling\['guided'\] must be JSON"):
        OpenAIChatModel("m", base_url="http://x/v1", sampling={"guided": value})


class OwnModel(OpenAIChatModel):
    """A client of the user's own."""


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_of_a_model_is_of_its_own_class(copied: Any) -> None:
    assert type(copied(OwnModel("m", base_url="http://x/v1"))) is OwnModel


def test_a_cancelled_call_stays_cancelled_though_the_connection_fails_to_close() -> None:
    class Stuck(FaultyStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"data: {}"
            waiting.set()
            await asyncio.Event().wait()

        async def aclose(self) -> None:
            raise OSError("gone")

    class Transport(Faulty):
        async def handle_async_request(self, request: Any) -> Any:
            return HTTP.Response(200, stream=Stuck(self), request=request)

    async def main() -> None:
        nonlocal waiting
        waiting = asyncio.Event()
        sdk = openai.AsyncOpenAI(
            api_key="k", base_url="http://x/v1", http_client=HTTP.AsyncClient(transport=Transport())
        )
        call = asyncio.create_task(exchange(sdk, {}, TimeLimits(60, 60, 60)))
        await waiting.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    waiting = asyncio.Event()
    asyncio.run(main())
