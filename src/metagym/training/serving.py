"""Serving a trained reflector in this process: a checkpoint's path is a reflector, like any other."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from metagym.errors import ConfigError
from metagym.models import Call
from metagym.reflectors import ChatReflector
from metagym.seeding import digest
from metagym.specs import import_object
from metagym.training.extras import require
from metagym.training.policy import Policy
from metagym.types import Completion, Message, MetaStep, Usage

torch = require("torch")


class LocalChatModel:
    """A `ChatModel` over a policy in this process: one call at a time, its chance from the call's seed alone."""

    def __init__(self, policy: Policy, *, max_new_tokens: int = 1024, temperature: float = 1.0) -> None:
        self.policy, self.max_new_tokens, self.temperature = policy, max_new_tokens, temperature
        self._lock = threading.Lock()

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What decides the replies: the weights' digest, and the sampling."""
        return {
            "kind": "LocalChatModel",
            "weights": weights_digest(self.policy),
            "sampling": {"max_new_tokens": self.max_new_tokens, "temperature": self.temperature},
        }

    async def complete(self, messages: Sequence[Message], call: Call) -> Completion:
        """Return the model's reply; see `ChatModel.complete`."""
        return await asyncio.to_thread(self._complete, messages, call.seed)

    def _complete(self, messages: Sequence[Message], seed: int) -> Completion:
        with self._lock:
            prompt = self.policy.encode(messages)
            (sample,) = self.policy.sample(
                [prompt],
                max_new_tokens=self.max_new_tokens,
                temperature=self.temperature,
                generator=torch.Generator().manual_seed(seed),
            )
        return Completion(
            text=sample.text,
            finish_reason="stop" if sample.is_finished else "length",
            usage=Usage(prompt_tokens=len(prompt), completion_tokens=len(sample.token_ids), num_calls=1),
            token_ids=sample.token_ids,
            logprobs=sample.logprobs,
        )


class LocalReflector(ChatReflector):
    """A `ChatReflector` over a local model, which shows meta-steps to it as it was trained on them."""

    def __init__(self, model: LocalChatModel, render: Callable[[MetaStep], list[Message]]) -> None:
        super().__init__(model)
        self._render = render

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What decides the reflections: the model, and how meta-steps are shown to it."""
        assert isinstance(self.model, LocalChatModel)
        return {
            "kind": "LocalReflector",
            "model": self.model.fingerprint,
            "render": f"{self._render.__module__}:{self._render.__qualname__}",
        }

    def messages(self, meta_step: MetaStep) -> list[Message]:
        """Return the conversation that asks for a reflection on `meta_step`."""
        return self._render(meta_step)


def load_reflector(path: str | Path, *, max_new_tokens: int = 1024, temperature: float = 1.0) -> LocalReflector:
    """Return the reflector at `path`: a checkpoint of `train`, or any causal language model's folder.

    A checkpoint says in `metagym.json` how meta-steps were shown in training; without it they are shown as
    `ChatReflector` shows them.

    Raises:
        ConfigError: there is no model there.
    """
    path = Path(path)
    if not path.is_dir():
        raise ConfigError(f"Expected the folder of a model or of a checkpoint, got {str(path)!r}, which is no folder.")
    name = "metagym.training.data:chat_messages"
    if (path / "metagym.json").is_file():
        name = json.loads((path / "metagym.json").read_text(encoding="utf-8"))["render"]
    model = LocalChatModel(Policy.load(path), max_new_tokens=max_new_tokens, temperature=temperature)
    return LocalReflector(model, import_object(name))


def weights_digest(policy: Policy) -> str:
    """Return a digest of all parameters; equal weights, to the bit, give equal digests."""
    import hashlib

    found = hashlib.sha256()
    for name, value in sorted(policy.model.state_dict().items()):
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest(found.hexdigest())
