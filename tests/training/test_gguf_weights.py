"""A GGUF file is a start model: its weights are unpacked once. Needs such a file, named by METAGYM_LOCAL_MODEL."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

FILE = os.environ.get("METAGYM_LOCAL_MODEL", "")
"""Read here: each test has an environment without such variables."""
pytestmark = [
    pytest.mark.train,
    pytest.mark.slow,
    pytest.mark.skipif(not FILE, reason="METAGYM_LOCAL_MODEL names no model"),
]
torch: Any = pytest.importorskip("torch", reason="needs metagym[train]")
pytest.importorskip("gguf", reason="needs metagym[train]")

from metagym.training.gguf_weights import trainable_model  # noqa: E402
from metagym.training.policy import Policy  # noqa: E402


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAGYM_CACHE", str(tmp_path))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_unpacked_model_writes_what_the_file_knows() -> None:
    policy = Policy.load(FILE, frozen=True)
    assert policy.shares_prompts
    prompt = policy.tokenizer("The capital of France is")["input_ids"]
    (sample,) = policy.sample([prompt], max_new_tokens=2, generator=policy.generator(0), temperature=0.0)
    assert sample.text == " Paris."
    folder = Path(trainable_model(FILE))
    unpacked_at = folder.stat().st_mtime_ns
    assert trainable_model(FILE) == str(folder)
    assert folder.stat().st_mtime_ns == unpacked_at
