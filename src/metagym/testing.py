"""Stand-ins and contract checks for your own tests: no key, no network, no luck.

ScriptedActor     plays given actions              FakeOpenAIServer  a real HTTP server, as bad as you ask
FakeChatModel     gives given replies              check_text_env    checks an inner environment
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from aiohttp import web

from metagym.errors import ContractError
from metagym.models import Call
from metagym.types import Action, Completion, Episode, Message, Observation, Step, Usage


class ScriptedActor:
    """Plays the given actions one after another, the last one again and again.

    >>> import gymnasium, metagym
    >>> env = gymnasium.make("MetaGym/Gates-v0", actor=ScriptedActor(["knock", "dance"]), episodes_per_step=1)
    >>> _, info = env.reset(seed=0)
    >>> trajectories, *_ = env.step(info["default_prompt"])
    >>> trajectories[0].steps[1].is_valid, trajectories[0].stop_reason.value
    (False, 'step limit')
    """

    scripted = True

    def __init__(self, actions: Sequence[str | Action]) -> None:
        self.actions = tuple(Action(text=action) if isinstance(action, str) else action for action in actions)
        self.fingerprint = {"kind": "ScriptedActor", "actions": [action.text for action in self.actions]}

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        """Return the action whose turn it is."""
        return self.actions[min(len(steps), len(self.actions) - 1)]


Respond = Callable[[Sequence[Message], Call], str | Completion]


class FakeChatModel:
    """A chat model without a model: a function of the conversation, or a list of replies for its turns.

    From a list it takes the reply whose number is that of the assistant's turns so far, so that concurrent
    episodes do not disturb each other. `calls` keeps what was asked. An exception in the list is raised.
    """

    scripted = True

    def __init__(self, replies: Respond | Sequence[str | Completion | Exception]) -> None:
        self._replies = replies
        self.calls: list[tuple[list[Message], Call]] = []
        self.fingerprint = {"kind": "FakeChatModel"}

    async def complete(self, messages: Sequence[Message], call: Call) -> Completion:
        """Return the reply."""
        self.calls.append((list(messages), call))
        if callable(self._replies):
            reply: str | Completion | Exception = self._replies(messages, call)
        else:
            turn = sum(message["role"] == "assistant" for message in messages)
            reply = self._replies[min(turn, len(self._replies) - 1)]
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, Completion):
            return reply
        num_words = sum(len(message["content"].split()) for message in messages)
        usage = Usage(prompt_tokens=num_words, completion_tokens=len(reply.split()), num_calls=1)
        return Completion(text=reply, usage=usage)


class ServerRequest(NamedTuple):
    """What a FakeOpenAIServer was asked."""

    number: int
    """How many requests came before."""
    body: dict[str, Any]
    headers: Mapping[str, str]

    @property
    def messages(self) -> list[Message]:
        """The conversation."""
        return list(self.body["messages"])


class ServerReply(NamedTuple):
    """What a FakeOpenAIServer answers, and how badly."""

    text: str = ""
    status: int = 200
    delay_s: float = 0.0
    """Waits before it answers; `math.inf` never answers."""
    headers: Mapping[str, str] = {}
    finish_reason: str = "stop"
    raw: str | None = None
    """Sent as the body in place of a completion."""
    cut: bool = False
    """Closes the connection without an answer."""


class FakeOpenAIServer:
    """A real HTTP server on loopback that speaks the OpenAI protocol as well, or as badly, as `respond` says.

    `respond(request)` returns the reply's text, or a `ServerReply` with a status, a delay, a cut. Use it as
    a context manager; `base_url` is where it listens, `requests` what it was asked.

    >>> with FakeOpenAIServer(lambda request: "Thought: easy\\nAction: knock") as server:
    ...     server.base_url.startswith("http://127.0.0.1:")
    True
    """

    def __init__(self, respond: Callable[[ServerRequest], str | ServerReply]) -> None:
        self._respond = respond
        self._numbers = itertools.count()
        self.requests: list[ServerRequest] = []
        self.base_url = ""

    def __enter__(self) -> FakeOpenAIServer:
        started = threading.Event()
        self._thread = threading.Thread(target=self._main, args=(started,), name="fake-openai", daemon=True)
        self._thread.start()
        started.wait()
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _main(self, started: threading.Event) -> None:
        async def serve() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            app = web.Application(client_max_size=2**30)
            app.router.add_post("/v1/chat/completions", self._answer)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
            await site.start()
            host, port = runner.addresses[0][:2]
            self.base_url = f"http://{host}:{port}/v1"
            started.set()
            await self._stop.wait()
            await runner.cleanup()

        asyncio.run(serve())

    async def _answer(self, http_request: web.Request) -> web.StreamResponse:
        request = ServerRequest(next(self._numbers), await http_request.json(), dict(http_request.headers))
        self.requests.append(request)
        answer = self._respond(request)
        reply = ServerReply(answer) if isinstance(answer, str) else answer
        if reply.delay_s == math.inf:
            await self._stop.wait()
        await asyncio.sleep(reply.delay_s)
        if reply.cut and http_request.transport is not None:
            http_request.transport.close()
        if reply.raw is not None:
            return web.Response(text=reply.raw, status=reply.status, content_type="application/json")
        if reply.status != 200:
            error = {"error": {"message": reply.text or f"fault {reply.status}", "type": "fault", "code": None}}
            return web.json_response(error, status=reply.status, headers=reply.headers)
        return web.json_response(_completion_body(request, reply), headers=reply.headers)


def _completion_body(request: ServerRequest, reply: ServerReply) -> dict[str, Any]:
    num_prompt = sum(len(message["content"].split()) for message in request.messages)
    num_reply = len(reply.text.split())
    return {
        "id": f"chatcmpl-{request.number}",
        "object": "chat.completion",
        "created": 0,
        "model": request.body["model"],
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": reply.text},
                "finish_reason": reply.finish_reason,
            }
        ],
        "usage": {
            "prompt_tokens": num_prompt,
            "completion_tokens": num_reply,
            "total_tokens": num_prompt + num_reply,
        },
    }


UNKNOWN_COMMAND = "xyzzy, the unheard-of command"


def check_text_env(env: gymnasium.Env[str, str], *, seed: int = 0, num_steps: int = 30) -> None:
    """Check that `env` is an inner environment as metagym expects it, by playing at random; it closes `env`.

    Raises:
        ContractError: it is none; the message says which rule was broken, and how to keep it.
    """
    first = _play(env, seed, num_steps)
    again = _play(env, seed, num_steps)
    for turn, (before, after) in enumerate(zip(first, again, strict=False)):
        _require(before == after, f"equal seeds must give equal episodes, but turn {turn} differs: {before} / {after}")
    _require(len(first) == len(again), "equal seeds must give episodes of equal length")

    env.reset(seed=seed)
    try:
        text, reward, *_ = env.step(UNKNOWN_COMMAND)
    except Exception as error:
        message = f"step must answer an unknown command in words and go on; it raised {type(error).__name__}: {error}"
        raise ContractError(message) from error
    _check_text(text)
    _require(math.isfinite(float(reward)), f"the reward must be finite, got {reward!r}")
    env.close()
    env.close()


def _play(env: gymnasium.Env[str, str], seed: int, num_steps: int) -> list[tuple[Any, ...]]:
    start: tuple[Any, ...] = env.reset(seed=seed)
    _require(isinstance(start, tuple) and len(start) == 2, f"reset must return (observation, info), got {start!r}")
    text, info = start
    seen: list[tuple[Any, ...]] = []
    rng = np.random.default_rng(seed)
    for _ in range(num_steps):
        _check_text(text)
        _require(text in env.observation_space, f"the observation {text[:80]!r} must be in observation_space")
        available = _check_info(info)
        command = available[int(rng.integers(len(available)))] if available else UNKNOWN_COMMAND
        _require(command in env.action_space, f"the available action {command!r} must be in action_space")
        result: tuple[Any, ...] = env.step(command)
        _require(len(result) == 5, f"step must return five values, got {len(result)}")
        text, reward, terminated, truncated, info = result
        _require(math.isfinite(float(reward)), f"the reward must be finite, got {reward!r}")
        for name, flag in (("terminated", terminated), ("truncated", truncated)):
            _require(isinstance(flag, bool | np.bool_), f"{name} must be a bool, got {flag!r}")
        seen.append((command, text, float(reward), bool(terminated), bool(truncated)))
        if terminated or truncated:
            _check_text(text)
            break
    return seen


def _check_text(text: object) -> None:
    _require(isinstance(text, str), f"an observation must be a str, got {type(text).__name__}: use TextAdapter")
    assert isinstance(text, str)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ContractError(f"An observation must encode as UTF-8: {error}. Replace lone surrogates.") from error


def _check_info(info: Mapping[str, Any]) -> Sequence[str]:
    goal, available = info.get("goal", ""), info.get("available_actions", ())
    _require(isinstance(goal, str), f"info['goal'] must be a str, got {goal!r}")
    is_texts = isinstance(available, tuple) and all(isinstance(item, str) for item in available)
    _require(is_texts, f"info['available_actions'] must be a tuple of str, got {available!r}")
    success = info.get("success")
    _require(success is None or isinstance(success, bool), f"info['success'] must be a bool, got {success!r}")
    try:
        json.dumps(info.get("display"))
    except (TypeError, ValueError) as error:
        raise ContractError(f"info['display'] must be JSON: {error}. Turn arrays into lists.") from error
    return tuple(available)


def _require(holds: bool, rule: str) -> None:
    if not holds:
        raise ContractError(f"The environment breaks the contract of inner environments: {rule}.")
