"""What the environment variables say about models and keys. Nothing else in the library reads them."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from metagym.errors import ConfigError

PLACEHOLDER_KEY = "no-key"  # the SDK refuses to start without one, even for a server that wants none


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


def find_key(given_url: str | None, url: str | None, api_key_env: str | None) -> str:
    """Return the key for the server at `url`: never one that was meant for another server.

    `given_url` is what the user named, None where the SDK's own server, or OPENAI_BASE_URL's, is used.

    Raises:
        ConfigError: a key is needed, and there is none.
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
        "Expected a key or a server, got neither. Set OPENAI_API_KEY, or give base_url for a server of your own "
        "(base_url='http://localhost:8000/v1')."
    )
