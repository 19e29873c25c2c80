"""Tests of training are skipped, with a reason, if the extra is not installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metagym.training.experience import Experience, to_experience
from metagym.training_demo.gates_problem import GradedGatesMetaEnv
from metagym.types import digest

MISSING = [name for name in ("torch", "transformers", "peft", "pyarrow") if importlib.util.find_spec(name) is None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("train") and MISSING:
            item.add_marker(pytest.mark.skip(reason=f"needs metagym[train]: {', '.join(MISSING)} is not installed"))


@pytest.fixture(scope="session")
def tiny_start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny reflector that has hardly learned its format; enough for all tests except those of learning."""
    from metagym.training.policy import Policy
    from metagym.training_demo import tiny_reflector as tiny

    torch: Any = tiny.torch
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("model") / "start"
    pairs = tiny.make_examples(64, seed=0)
    tokenizer: Any = tiny.make_tokenizer([messages[0]["content"] + "\n" + reply for messages, reply in pairs])
    model: Any = tiny.make_tiny_model(len(tokenizer), seed=0, hidden_size=16, num_layers=1)
    policy = Policy(model, tokenizer)
    tiny.supervise(policy, pairs, seed=0, num_steps=60, batch_size=16, learning_rate=1e-2)
    policy.save(path)
    return path


@pytest.fixture(scope="session")
def policy(tiny_start: Path) -> Any:
    from metagym.training.policy import Policy

    return Policy.load(tiny_start)


@pytest.fixture(scope="module")
def env() -> Iterator[GradedGatesMetaEnv]:
    with GradedGatesMetaEnv("demo", episodes_per_step=2) as env:
        yield env


@pytest.fixture(scope="module")
def experience(env: GradedGatesMetaEnv) -> list[Experience]:
    histories = [env.replay([env.default_prompt], [f"law-000{law}/1", f"law-000{law}/2"]) for law in range(5)]
    return to_experience(histories, fingerprint=digest(env.fingerprint))
