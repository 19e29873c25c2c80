"""A trained reflector in this process: the path of a checkpoint is a reflector."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metagym.errors import ConfigError
from metagym.extensions import import_path
from metagym.imports import import_object, require
from metagym.models import Call
from metagym.reflectors import ChatReflector
from metagym.training.experience import Render
from metagym.training.policy import Policy
from metagym.types import Completion, Message, MetaStep, Record, digest

torch = require("torch", extra="train")
SERVED = "metagym.json"


class LocalChatModel:
    """A `ChatModel` over a policy in this process: one call at a time; all randomness comes from the call's seed."""

    def __init__(self, policy: Policy, *, max_new_tokens: int = 1024, temperature: float = 1.0) -> None:
        self.policy, self.max_new_tokens, self.temperature = policy, max_new_tokens, temperature
        self._lock = threading.Lock()

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Everything that decides the replies: the digest of the weights, and the sampling."""
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
    """A `ChatReflector` over a local model, which renders meta-steps as in the model's training."""

    def __init__(self, model: LocalChatModel, render: Render) -> None:
        super().__init__(model)
        self._render = render

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Everything that decides the reflections: the model, and the rendering of meta-steps."""
        assert isinstance(self.model, LocalChatModel)
        return {
            "kind": "LocalReflector",
            "model": self.model.fingerprint,
            "render": import_path(self._render),
        }

    def messages(self, meta_step: MetaStep) -> list[Message]:
        """Return the conversation that asks for a reflection on `meta_step`."""
        return self._render(meta_step)


class Served(Record):
    """How a model was trained, and so must be used: `metagym.json` in its folder."""

    render: str = "metagym.training.experience:chat_messages"
    """Import path of the function that renders a meta-step for the model."""
    max_new_tokens: int = 1024
    temperature: float = 1.0
    dtype: str = "float32"
    model: str | None = None
    """The model's folder or hub name; None means the same folder."""

    @classmethod
    def of(cls, render: Render, **options: Any) -> Served:
        """Describe a model for which `render` renders meta-steps; `options` are the other fields."""
        return cls(render=import_path(render), **options)

    def write(self, folder: Path) -> None:
        """Write `metagym.json` to a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / SERVED).write_text(self.model_dump_json() + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Served:
        """Read `metagym.json` in a folder; without the file, return the settings of `ChatReflector`.

        Raises:
            ConfigError: the file exists and cannot be read.
        """
        try:
            found = cls.model_validate_json((folder / SERVED).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return cls()
        except ValueError as error:
            raise ConfigError(
                f"Expected the file that `metagym train` wrote at {folder / SERVED}, got: {error}"
            ) from error
        render = found.render.replace("metagym.training.data:", "metagym.training.experience:")  # its name in 0.1
        return found.model_copy(update={"render": render})


def load_reflector(path: str | Path) -> LocalReflector:
    """Return the reflector at `path`: a checkpoint, the `start` of a training run, or a causal language model's folder.

    The `metagym.json` of a checkpoint holds the rendering, reply length and temperature of its training; the
    reflector uses the same.

    Raises:
        ConfigError: the folder holds no model.
    """
    path = Path(path)
    if not path.is_dir():
        raise ConfigError(
            f"Expected the folder of a model or of a checkpoint, got {str(path)!r}, which is not a folder."
        )
    served = Served.read(path)
    policy = Policy.load(path if served.model is None else served.model, dtype=served.dtype, frozen=True)
    model = LocalChatModel(policy, max_new_tokens=served.max_new_tokens, temperature=served.temperature)
    return LocalReflector(model, import_object(served.render))


def weights_digest(policy: Policy) -> str:
    """Return a digest of all parameters. Weights that are equal to the bit have equal digests."""
    found = hashlib.sha256()
    for name, value in sorted(policy.model.state_dict().items()):
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest(found.hexdigest())
