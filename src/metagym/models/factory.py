"""Chat models from JSON mappings, as `gym.make` and the command line take them, and from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from metagym.errors import ConfigError, UnknownNameError, config_error
from metagym.models.client_config import ClientConfig
from metagym.models.litellm_model import LiteLLMChatModel, is_litellm
from metagym.models.local_model import GGUFChatModel, is_local
from metagym.models.local_server import LlamaCppConfig
from metagym.models.openai import OpenAIChatModel
from metagym.models.recorded_model import RecordedModel
from metagym.types import Record

_COMMON_KEYS = ("model", "base_url", "api_key_env", "sampling", "timeout_s", "max_retries", "system_role", "client")
MODEL_KEYS = (*_COMMON_KEYS, "server", "recorded")
_KINDS: Mapping[str, Any] = {
    "model": str,
    "base_url": str | None,
    "api_key_env": str | None,
    "sampling": Mapping | None,
    "timeout_s": int | float,
    "max_retries": int,
    "system_role": str,
    "client": Mapping,
    "server": Mapping,
    "recorded": Mapping,
    "history_steps": int | None,
    "context_tokens": int | None,
    "retrieve_items": int | Mapping | None,
    "reply_format": str,
    "constrain": str,
    "act": str,
}
_RECORDS: Mapping[str, type[Record]] = {"client": ClientConfig, "server": LlamaCppConfig}


def make_model(mapping: Mapping[str, Any], *, known: Sequence[str] = MODEL_KEYS) -> OpenAIChatModel | RecordedModel:
    """Return the chat model that a JSON mapping describes.

    A model named `local`, `local:NAME` or `local:PATH` without a `base_url` runs on this machine; `server` holds the
    fields of `LlamaCppConfig`. LiteLLM asks a model named `litellm:NAME`. With `recorded`, a fingerprint from
    `Cassette.models`, only a cassette answers.
    """
    if "api_key" in mapping:
        raise ConfigError(
            "An api_key in the mapping would be written into env.spec and logs. Put it into an environment variable, "
            "and name the variable: api_key_env='MY_KEY'."
        )
    for name in mapping:
        if name not in known:
            raise UnknownNameError.of("key of the model mapping", name, known)
    if not isinstance(mapping.get("model"), str):
        raise ConfigError(f"The mapping must hold 'model', a str; got the keys {sorted(mapping)}.")
    for name, value in mapping.items():
        if not isinstance(value, _KINDS[name]):
            kind = str(_KINDS[name]).replace("collections.abc.", "")
            raise ConfigError(f"{name!r} in the mapping must be of type {kind}, got {value!r}.")
    if "recorded" in mapping:
        return RecordedModel(mapping["recorded"])
    options = {name: value for name, value in mapping.items() if name in MODEL_KEYS}
    for name in _RECORDS.keys() & options.keys():
        try:
            options[name] = _RECORDS[name].model_validate(options[name])
        except ValidationError as error:
            raise config_error(error, f"field of the {name}", _RECORDS[name].model_fields) from None
    here = is_local(options["model"]) and options.get("base_url") is None
    for name in ("api_key_env", "base_url") if here else ("server",):
        if options.pop(name, None) is not None:
            raise ConfigError(f"{name!r} does not belong to the {'local ' * here}model {mapping['model']!r}.")
    if here:
        return GGUFChatModel(**options)
    return LiteLLMChatModel(**options) if is_litellm(options["model"]) else OpenAIChatModel(**options)


def is_model_name(name: str) -> bool:
    """Return whether a name by itself is that of a model, and not an import path: `local...` or `litellm:NAME`."""
    return is_local(name) or is_litellm(name)


def model_from_environment() -> dict[str, Any] | None:
    """Return the model that METAGYM_MODEL names, as a mapping for `make_model`; None if nothing is set."""
    if name := os.environ.get("METAGYM_MODEL"):
        return {"model": name}
    if os.environ.get("OPENAI_API_KEY"):
        raise ConfigError(
            "OPENAI_API_KEY is set, but no model is named: expected METAGYM_MODEL, or actor={'model': ...}. "
            "Set METAGYM_MODEL, or pass actor='demo' for the scripted offline actor."
        )
    return None
