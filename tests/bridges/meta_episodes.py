"""What the tests of all adapters of meta-episodes compare with: the meta-loop with the same seeds and replies."""

from __future__ import annotations

from typing import Any

import metagym
from metagym.testing import FakeChatModel

LESSONS = ["When the gate is oak, push.", "When the gate is iron, push."]
REPLIES = [f"IMPROVED PROMPT: {LESSONS[0]}", "I do not know.", f"IMPROVED PROMPT: {LESSONS[1]}"]
OPTIONS: dict[str, Any] = {"actor": "demo", "episodes_per_step": 3, "score": "progress"}


def meta_loop_rewards(seed: int) -> list[float]:
    """Return the scores of the batches that are played under the prompts in `REPLIES`."""
    reflector = metagym.ChatReflector(FakeChatModel(lambda messages, call: REPLIES[min(call.meta_step, 2)]))
    with metagym.make("MetaGym/Gates-v0", **OPTIONS) as env:
        return list(metagym.optimize(env, reflector, 4, seed=seed).rewards[1:])
