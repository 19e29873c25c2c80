"""The ledger: what the play has cost so far. Times and totals live here, never in a record."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from metagym.types import Trajectory, Usage


class Ledger:
    """Counts episodes, steps, tokens and calls, and the time spent playing."""

    def __init__(self) -> None:
        self.num_episodes = 0
        self.num_steps = 0
        self.num_failed = 0
        self.usage = Usage()
        self.wall_time_s = 0.0

    def add(self, trajectory: Trajectory) -> None:
        """Count a finished episode."""
        self.num_episodes += 1
        self.num_steps += len(trajectory.steps)
        self.num_failed += trajectory.score is None
        self.usage += trajectory.usage

    @contextlib.contextmanager
    def measure(self) -> Iterator[None]:
        """Count the time that the body takes."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.wall_time_s += time.perf_counter() - start

    def __repr__(self) -> str:
        return (
            f"Ledger(num_episodes={self.num_episodes}, num_steps={self.num_steps}, num_failed={self.num_failed}, "
            f"calls={self.usage.num_calls}, tokens={self.usage.prompt_tokens + self.usage.completion_tokens}, "
            f"wall_time_s={self.wall_time_s:.2f})"
        )
