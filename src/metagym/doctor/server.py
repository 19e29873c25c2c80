"""The model: is one named, does its server answer, is the key accepted, does the server have that model?"""

from __future__ import annotations

import http.client
import json
import urllib.error
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from metagym.doctor.finding import Finding, ok, problem, warning
from metagym.doctor.fit import check_template, check_window, open_url
from metagym.errors import ConfigError, MissingExtraError
from metagym.imports import install_command
from metagym.models import is_local, is_model_name, make_model, model_from_environment
from metagym.models.client_config import find_key, masked, read_base_url
from metagym.models.model_files import FIRST_MODEL, list_models

DEFAULT_URL = "https://api.openai.com/v1"
TIMEOUT_S = 5.0
LOOPBACK = ("localhost", "127.0.0.1", "::1")
PROXIES = ("http_proxy", "https_proxy", "all_proxy")
SCHEMES = ("http", "https", "socks4", "socks5", "socks5h")


def check_proxies(environ: Mapping[str, str], base_url: str | None) -> Iterator[Finding]:
    """Check that the proxy variables are URLs, and do not catch calls to a server on this machine."""
    for name, value in environ.items():
        if name.lower() not in PROXIES or not value:
            continue
        remedy = f"unset {name}, or export {name}=http://HOST:PORT"
        try:
            parts = urlsplit(value)
            is_url = parts.scheme in SCHEMES and bool(parts.hostname) and (parts.port or True)
        except ValueError:
            is_url = False
        if not is_url:
            message = f"expected {name} to be a URL such as http://HOST:PORT, got {masked(value)!r}"
            yield problem("proxy", message, remedy)
        elif base_url is not None and _is_proxied_loopback(environ, base_url):
            message = f"{name} sends calls to {base_url}, on this machine, through {masked(value)}"
            yield problem("proxy", message, f"export NO_PROXY={','.join(LOOPBACK[:2])}")


def _is_proxied_loopback(environ: Mapping[str, str], url: str) -> bool:
    host = urlsplit(url).hostname
    exempt = f"{environ.get('no_proxy', '')},{environ.get('NO_PROXY', '')}".split(",")
    return host in LOOPBACK and not {host, "*"} & {item.strip() for item in exempt}


def check_server(
    environ: Mapping[str, str], *, model: str | None = None, base_url: str | None = None, api_key_env: str | None = None
) -> Iterator[Finding]:
    """Ask the server for its list of models, and one on this machine for one token. Neither costs anything."""
    try:
        model = model or (model_from_environment() or {}).get("model")
        if model is not None and is_local(model) and base_url is None:
            yield _check_local_model(model)
            return
        if model is not None and is_model_name(model) and base_url is None:
            yield ok("model", f"{model} is asked through LiteLLM, which has no list of models to look at")
            return
        url, query = read_base_url(base_url or environ.get("OPENAI_BASE_URL") or None)
        if model is None and url is None:
            message = "no model is named, so only the scripted demo plays"
            fetch = "" if list_models() else f"metagym models get {FIRST_MODEL}, then "
            remedy = (
                "export METAGYM_MODEL=NAME with OPENAI_API_KEY or OPENAI_BASE_URL, or write --actor NAME@URL, or play "
                f"with a small model on this machine: {fetch}--actor local"
            )
            yield warning("model", message, remedy)
            return
        key = find_key(base_url, url, api_key_env)
    except ConfigError as error:
        yield problem("model", str(error), "export METAGYM_MODEL=NAME OPENAI_API_KEY=..., or write --actor NAME@URL")
        return
    url = (url or DEFAULT_URL).rstrip("/")
    yield from check_proxies(environ, url)
    try:
        entries = _list_models(url, key, query)
    except (OSError, http.client.HTTPException, KeyError, TypeError, ValueError) as error:
        yield _explain(error, url, key_name=api_key_env or "OPENAI_API_KEY")
        return
    names = list(entries)
    if model is None:
        remedy = f"--actor {names[0] if names else 'NAME'}@{url}"
        yield warning("model", f"{url} answers, but no model is named", remedy)
    elif names and model not in names:
        message = f"{url} serves {', '.join(names[:5])}, not {model!r}"
        yield problem("model", message, f"--actor {names[0]}@{url}, or export METAGYM_MODEL={names[0]}")
    else:
        yield ok("model", f"{model} at {url}")
        yield from check_window(url, entries.get(model, {}), key=key, query=query, timeout_s=TIMEOUT_S)
        yield from check_template(url, model, key=key, query=query, timeout_s=TIMEOUT_S)


def _check_local_model(model: str) -> Finding:
    """Check the model on this machine: its engine and its file. The server is not started."""
    try:
        found = make_model({"model": model})
    except MissingExtraError as error:
        return problem("model", str(error), install_command("local"))
    except ConfigError as error:
        return problem("model", str(error), f"metagym models get {FIRST_MODEL}")
    return ok("model", f"{found.model} on this machine, sha256 {found.fingerprint['sha256'][:12]}")


def _list_models(url: str, key: str, query: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    with open_url(f"{url}/models", key=key, query=query, timeout_s=TIMEOUT_S) as reply:
        return {str(item["id"]): item for item in json.load(reply)["data"]}


def _explain(error: Exception, url: str, *, key_name: str) -> Finding:
    """Return the finding for a server that returned no list of models."""
    if isinstance(error, urllib.error.HTTPError):
        found = f"HTTP {error.code} {error.reason}"
        if error.code in (401, 403):
            remedy = f"export {key_name}=..., or name another variable as api_key_env in --actor FILE.json"
            return problem("model", f"{url} refuses the key: {found}", remedy)
        if error.code in (404, 405):
            message = f"{url} answers, but has no list of models ({found})"
            return warning("model", message, "does the base URL lack /v1? metagym run shows if a call succeeds")
    elif isinstance(error, OSError | http.client.HTTPException):  # URLError and timeouts are OSErrors
        message = f"nothing answers at {url}: {getattr(error, 'reason', error)}"
        remedy = "start one (metagym serve MODEL, vllm serve MODEL, ollama serve), or correct the URL"
        return problem("model", message, remedy)
    elif isinstance(error, KeyError | TypeError):
        found = "not a list of models"
    else:  # not a URL, or not JSON
        found = f"{type(error).__name__}: {error}"
    remedy = "check that this is an OpenAI-compatible server, and its log"
    return problem("model", f"{url} answers {found}", remedy)
