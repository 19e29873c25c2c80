"""A policy as a reflector in this process: the path of a checkpoint, and the ICT protocol during the training."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from metagym.env import MetaEnv
from metagym.errors import ConfigError
from metagym.files import write_whole
from metagym.imports import import_object, require
from metagym.models import Call
from metagym.optional_attributes import import_path
from metagym.reflectors import ChatReflector
from metagym.training.experience import Render, chat_messages
from metagym.training.grpo import GRPOConfig
from metagym.training.policy import Policy, Sample
from metagym.types import Completion, Message, MetaStep, Record, Text, digest

torch = require("torch", extra="train")
SERVED = "metagym.json"
FIGURES = ("gain", "last_gain", "test_first", "test_chosen", "test_last")
"""The figures that become metrics: means over seeds with their intervals (`_low`, `_high`). The report has all."""
Evaluate = Callable[[Policy, int], Mapping[str, float]]
"""Evaluates the policy after a number of steps: (policy, step) -> figures by name."""


class LocalChatModel:
    """A `ChatModel` over a policy in this process: one call at a time; all randomness comes from the call's seed."""

    def __init__(self, policy: Policy, *, max_new_tokens: int = 1024, temperature: float = 1.0) -> None:
        self.policy, self._sampling = policy, {"max_new_tokens": max_new_tokens, "temperature": temperature}
        self._lock = threading.Lock()

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Everything that decides the replies: the digest of the weights, and the sampling."""
        return {"kind": "LocalChatModel", "weights": weights_digest(self.policy), "sampling": self._sampling}

    async def complete(self, messages: Sequence[Message], call: Call) -> Completion:
        """Return the model's reply; see `ChatModel.complete`."""
        return await asyncio.to_thread(self._complete, messages, call.seed)

    def _complete(self, messages: Sequence[Message], seed: int) -> Completion:
        with self._lock:
            prompt, generator = self.policy.encode(messages), self.policy.generator(seed)
            samples: list[Sample] = self.policy.sample([prompt], generator=generator, **self._sampling)
        return samples[0].completion


class LocalReflector(ChatReflector):
    """A `ChatReflector` over a local model, which renders meta-steps as in the model's training."""

    def __init__(self, model: LocalChatModel, render: Render) -> None:
        super().__init__(model)
        self._render = render

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Everything that decides the reflections: the model, and the rendering of meta-steps."""
        assert isinstance(self.model, LocalChatModel)
        return {"kind": "LocalReflector", "model": self.model.fingerprint, "render": import_path(self._render)}

    def messages(self, meta_step: MetaStep) -> list[Message]:
        """Render the meta-step as in training."""
        return self._render(meta_step)


class Served(Record):
    """How a model was trained, and so must be used: `metagym.json` in its folder."""

    render: Text = "metagym.training.experience:chat_messages"
    """Import path of the function that renders a meta-step for the model."""
    max_new_tokens: int = 1024
    temperature: float = 1.0
    dtype: Text = "float32"
    model: Text | None = None
    """The model's folder or hub name; None means the same folder."""

    def write(self, folder: Path) -> None:
        """Write `metagym.json` to a folder."""
        write_whole(folder / SERVED, self.model_dump_json() + "\n")

    @classmethod
    def read(cls, folder: Path) -> Served:
        """Read `metagym.json` in a folder; without the file, return the settings of `ChatReflector`."""
        file = folder / SERVED
        if not file.exists():
            return cls()
        try:
            found = cls.model_validate_json(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ConfigError(f"Expected the file that `metagym train` wrote at {file}, got: {error}") from error
        render = found.render.replace("metagym.training.data:", "metagym.training.experience:")  # its name in 0.1
        return found.model_copy(update={"render": render})


def load_reflector(path: str | Path) -> LocalReflector:
    """Return the reflector at `path`: a checkpoint, the `start` of a training run, or a causal language model's folder.

    A checkpoint's `metagym.json` holds the rendering, reply length and temperature of its training, and of its use.
    """
    if not Path(path).is_dir():
        raise ConfigError(f"Expected the folder of a model or a checkpoint, got {str(path)!r}, which is not a folder.")
    served = Served.read(Path(path))
    policy = Policy.load(path if served.model is None else served.model, dtype=served.dtype, frozen=True)
    model = LocalChatModel(policy, max_new_tokens=served.max_new_tokens, temperature=served.temperature)
    return LocalReflector(model, import_object(served.render))


def evaluate_by_ict(
    evaluate: Callable[..., Any],
    env: MetaEnv,
    config: Any,
    path: str | Path,
    *,
    trained_on: Collection[str],
    grpo: GRPOConfig,
    render: Render = chat_messages,
) -> Evaluate:
    """Return a function that evaluates the policy by the protocol in `config`, for `train(evaluate=)`.

    `trained_on` are the families of the training.

    `evaluate` is `metagym.evaluation.evaluate`, and `config` its `EvaluationConfig` with held-out families: training is
    a layer that does not know them. Each evaluation is a run folder, `path/NNNNNN` after NNNNNN steps; two of them are
    compared like any other: `metagym compare RUN/evaluations/000000 ...000025`. The policy reflects as in training:
    the same rendering, reply length and temperature.
    """
    if not config.families:
        raise ConfigError("Expected held-out families to evaluate on, got nothing. Name them: families=[...].")
    if shared := sorted(set(trained_on) & set(env.task_set.expand_families(config.families))):
        raise ConfigError(f"Expected held-out families, got {shared}, which the training is on. Name others.")

    def evaluate_policy(policy: Policy, step: int) -> dict[str, float]:
        model = LocalChatModel(policy, max_new_tokens=grpo.max_new_tokens, temperature=grpo.temperature)
        folder = Path(path) / f"{step:06d}"
        report = evaluate(env, LocalReflector(model, render), config=config, arm=f"after {step} steps", path=folder)
        figures: dict[str, float] = {}
        for name in FIGURES:
            if (estimate := getattr(report.overall, name)) is not None:
                figures |= {name: estimate.mean, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
        return {name: value for name, value in figures.items() if value is not None}

    return evaluate_policy


def weights_digest(policy: Policy) -> str:
    """Return a digest of all parameters. Weights that are equal to the bit have equal digests."""
    found = hashlib.sha256()
    for name, value in sorted(policy.model.state_dict().items()):
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest(found.hexdigest())
