"""Serving a trained reflector in this process: a checkpoint's path is a reflector, like any other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metagym.errors import ConfigError
from metagym.imports import import_object, require
from metagym.models import Call
from metagym.reflectors import ChatReflector
from metagym.seeding import digest
from metagym.training.experience import Render
from metagym.training.policy import Policy
from metagym.types import Completion, Message, MetaStep, Record

torch = require("torch", extra="train")
SERVED = "metagym.json"


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
            (sample,) = self.policy.sample(
                [self.policy.encode(messages)],
                max_new_tokens=self.max_new_tokens,
                temperature=self.temperature,
                generator=self.policy.generator(seed),
            )
        completion: Completion = sample.completion
        return completion


class LocalReflector(ChatReflector):
    """A `ChatReflector` over a local model, which shows meta-steps to it as it was trained on them."""

    def __init__(self, model: LocalChatModel, render: Render) -> None:
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


class Served(Record):
    """How a model was trained, and so is served: `metagym.json` in its folder."""

    render: str = "metagym.training.experience:chat_messages"
    """Import path of what shows a meta-step to the model."""
    max_new_tokens: int = 1024
    temperature: float = 1.0
    dtype: str = "float32"
    model: str | None = None
    """Where the model is; None means in the same folder."""

    @classmethod
    def of(cls, render: Render, **options: Any) -> Served:
        """Describe a model that is shown meta-steps by `render`; `options` are the other fields."""
        return cls(render=f"{render.__module__}:{render.__qualname__}", **options)

    def write(self, folder: Path) -> None:
        """Write it to a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / SERVED).write_text(self.model_dump_json() + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Served:
        """Read it from a folder; without the file, the model is served as `ChatReflector` serves one.

        Raises:
            ConfigError: the file is there, and cannot be read.
        """
        try:
            found = cls.model_validate_json((folder / SERVED).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return cls()
        except ValueError as error:
            raise ConfigError(f"Expected what `metagym train` wrote in {folder / SERVED}: {error}") from error
        render = found.render.replace("metagym.training.data:", "metagym.training.experience:")  # its name in 0.1
        return found.model_copy(update={"render": render})


def load_reflector(path: str | Path) -> LocalReflector:
    """Return the reflector at `path`: a checkpoint or the `start` of `train`, or any causal language model's folder.

    A checkpoint says in `metagym.json` how meta-steps were shown to it in training, how long its replies were,
    and at what temperature: so it is served, too.

    Raises:
        ConfigError: there is no model there.
    """
    path = Path(path)
    if not path.is_dir():
        raise ConfigError(f"Expected the folder of a model or of a checkpoint, got {str(path)!r}, which is no folder.")
    served = Served.read(path)
    policy = Policy.load(path if served.model is None else served.model, dtype=served.dtype, frozen=True)
    model = LocalChatModel(policy, max_new_tokens=served.max_new_tokens, temperature=served.temperature)
    return LocalReflector(model, import_object(served.render))


def weights_digest(policy: Policy) -> str:
    """Return a digest of all parameters; equal weights, to the bit, give equal digests."""
    import hashlib

    found = hashlib.sha256()
    for name, value in sorted(policy.model.state_dict().items()):
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest(found.hexdigest())
