"""Does the server's model fit: is its context window long enough, and does its chat template take a system prompt?"""

from __future__ import annotations

import contextlib
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from metagym.doctor.finding import Finding, problem, warning
from metagym.models.server_words import has_meaning

WINDOW: Final = 16_384
"""Tokens that a reflection needs for its reply (8,192) and a few episodes; an actor needs about half."""
_NAMES: Final = ("max_model_len", "context_length", "context_window")
"""The window in a list of models: vLLM and SGLang; LM Studio and OpenRouter; Groq."""
_MESSAGES: Final = ({"role": "system", "content": "Reply with one word."}, {"role": "user", "content": "Hello."})


def open_url(
    url: str, *, key: str, query: Mapping[str, str], timeout_s: float, body: bytes | None = None
) -> contextlib.closing[Any]:
    """Send a request with the key, which no other host is given if the server redirects there."""
    address = f"{url}?{urlencode(query)}" if query else url
    headers = {"Authorization": f"Bearer {key}"} | ({"Content-Type": "application/json"} if body else {})
    request = urllib.request.Request(address, data=body, headers=headers)
    return contextlib.closing(urllib.request.build_opener(_KeyForOneHost).open(request, timeout=timeout_s))


class _KeyForOneHost(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: urllib.request.Request, *args: Any) -> urllib.request.Request | None:
        new = super().redirect_request(req, *args)
        if new is not None and urlsplit(new.full_url).netloc != urlsplit(req.full_url).netloc:
            new.remove_header("Authorization")
        return new


def check_window(
    url: str, entry: Mapping[str, Any], *, key: str, query: Mapping[str, str], timeout_s: float
) -> Iterator[Finding]:
    """Check the context window, if the entry in the list of models says it, or the properties of llama.cpp's server."""
    window = next((entry[name] for name in _NAMES if isinstance(entry.get(name), int)), None)
    if window is None:
        with contextlib.suppress(OSError, http.client.HTTPException, KeyError, TypeError, ValueError):
            props = f"{url.removesuffix('/v1')}/props"
            with open_url(props, key=key, query=query, timeout_s=timeout_s) as reply:
                window = int(json.load(reply)["default_generation_settings"]["n_ctx"])
    if window is not None and window < WINDOW:
        message = f"{url} holds {window:,} tokens in its context window, expected at least {WINDOW:,}"
        remedy = (
            f"serve it with a larger one (vLLM --max-model-len {WINDOW}, llama.cpp --ctx-size {WINDOW} for each slot, "
            f"OLLAMA_CONTEXT_LENGTH={WINDOW}), or shorten replies: --sampling max_tokens={max(1, window // 4)}"
        )
        yield warning("window", message, remedy)


def check_template(url: str, model: str, *, key: str, query: Mapping[str, str], timeout_s: float) -> Iterator[Finding]:
    """Ask a server on this machine for one token, to see that its chat template takes the messages of an actor.

    A template that knows no system role is fine: the client then writes the prompt into the first message.
    """
    if urlsplit(url).hostname not in ("localhost", "127.0.0.1", "::1"):
        return  # a call may cost something
    body = json.dumps({"model": model, "messages": _MESSAGES, "max_tokens": 1}).encode()
    try:
        with open_url(f"{url}/chat/completions", key=key, query=query, timeout_s=timeout_s, body=body):
            pass
    except urllib.error.HTTPError as error:
        said = error.read(2_000).decode(errors="replace")
        if "template" in said.lower() and not has_meaning("system role", said):
            remedy = "serve an instruct or chat model, or name its template (vLLM, llama.cpp: --chat-template FILE)"
            yield problem("template", f"{url} cannot write messages for {model}: {said[:300].strip()}", remedy)
    except (OSError, http.client.HTTPException, ValueError):
        return  # a slow or busy server says nothing about its template
