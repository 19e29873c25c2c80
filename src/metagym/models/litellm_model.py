"""LiteLLMChatModel: `litellm:NAME`, a model of any provider through the SDK of LiteLLM, without its proxy."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from metagym.imports import package_versions, require
from metagym.models.client_config import ClientConfig
from metagym.models.openai import OpenAIChatModel
from metagym.models.server_profile import SystemRole

PREFIX: Final = "litellm:"
DEFAULT_CLIENT = ClientConfig()
_CODES: Final = {"ContentPolicyViolationError": "content_policy_violation"}
"""The classes of LiteLLM's errors that have another name among the codes of servers."""


def is_litellm(name: str) -> bool:
    """Return whether a model's name is `litellm:NAME`."""
    return name.startswith(PREFIX)


class LiteLLMChatModel(OpenAIChatModel):
    """A chat model that LiteLLM's SDK asks, in this process: `litellm:anthropic/NAME`, `litellm:bedrock/NAME`.

    LiteLLM takes keys from the variables of its providers (`ANTHROPIC_API_KEY`, ...). With `base_url` it asks that
    server, with the key in `api_key_env`. Retries, limits, budgets, tools and cassettes are as for any other server;
    LiteLLM itself never retries, and replies come in one piece.

    Raises:
        MissingExtraError: at the first call, if the package is not installed.
    """

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
        super().__init__(
            model.removeprefix(PREFIX),
            base_url=base_url or "http://litellm.invalid/v1",  # never asked: LiteLLM knows the provider's address
            api_key_env=api_key_env,
            sampling=sampling,
            timeout_s=timeout_s,
            max_retries=max_retries,
            system_role=system_role,
            client=client.model_copy(update={"stream": False}),
        )
        self._arguments = (model, base_url, api_key_env, sampling, timeout_s, max_retries, system_role, client)
        self._server = {"api_base": base_url} if base_url else {}
        if base_url or api_key_env:  # else LiteLLM finds the provider's own variable
            self._server["api_key"] = self._api_key
        self.base_url = base_url
        self.fingerprint = {
            **self.fingerprint,
            "model": model,
            "base_url": base_url,
            "packages": package_versions("litellm"),
        }

    def _connect(self) -> Any:
        if not self.client.offline:
            # Without this, its import asks a server for a list of prices, and waits for it.
            os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
            self._litellm = require("litellm", extra="litellm")
        return super()._connect()

    async def _exchange(self, sdk: Any, body: dict[str, Any]) -> bytes:
        try:
            reply = await self._litellm.acompletion(
                **body, **self._server, timeout=self._limits.first_byte, max_retries=0
            )
        except Exception as error:
            _raise_as_server(error)
        answer: str = reply.model_dump_json(exclude_none=True)
        return answer.encode()


def _raise_as_server(error: Exception) -> NoReturn:
    """Raise an error of LiteLLM as the SDK raises that of a server: its class is the code, its text the message."""
    import openai

    if not isinstance(error, openai.APIStatusError):
        raise error
    kind = type(error).__name__
    body = {"error": {"message": str(error), "code": _CODES.get(kind, kind.lower())}}
    response = type(error.response)(
        error.status_code, json=body, headers=dict(error.response.headers), request=error.request
    )
    raise openai.APIStatusError(str(error), response=response, body=body) from error
