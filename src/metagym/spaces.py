"""The Gymnasium spaces of prompts, texts and batches of trajectories."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gymnasium import Space

from metagym.errors import InvalidPromptError
from metagym.types import Trajectory

_ALPHABET = "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;!?é—→"


class TextSpace(Space[str]):
    """Any text that UTF-8 can encode, up to `max_length` characters.

    Gymnasium's own `spaces.Text` needs its alphabet, and takes half a minute to build with all of Unicode.

    >>> space = TextSpace(max_length=10)
    >>> "é — ok" in space, "x" * 11 in space, chr(0xD800) in space
    (True, False, False)
    """

    is_np_flattenable = False

    def __init__(self, max_length: int = 1_000_000, *, seed: int | None = None) -> None:
        if max_length < 1:
            raise ValueError(f"max_length must be at least 1, got {max_length}.")
        self.max_length = max_length
        super().__init__(dtype=str, seed=seed)

    def problem(self, value: object) -> str:
        """Return the reason why `value` is not in this space; empty if it is."""
        if not isinstance(value, str):
            return f"expected a str, got {type(value).__name__}"
        if len(value) > self.max_length:
            return f"expected at most {self.max_length:,} characters, got {len(value):,}"
        try:
            value.encode()
        except UnicodeEncodeError as error:
            return f"expected text that UTF-8 can encode, got a lone surrogate at position {error.start}"
        return ""

    def contains(self, x: Any) -> bool:
        """Whether `x` is a text of this space."""
        return not self.problem(x)

    def sample(self, mask: Any | None = None, probability: Any | None = None) -> str:
        """Draw a text of 1 to 40 characters, some of them beyond ASCII."""
        length = int(self.np_random.integers(1, min(self.max_length, 40) + 1))
        return "".join(_ALPHABET[i] for i in self.np_random.integers(len(_ALPHABET), size=length))

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.max_length == getattr(other, "max_length", None)

    def __hash__(self) -> int:
        return hash((type(self), self.max_length))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(max_length={self.max_length})"


class PromptSpace(TextSpace):
    """The system prompts: the action space of a meta-environment."""

    def __init__(self, max_length: int = 100_000, *, seed: int | None = None) -> None:
        super().__init__(max_length, seed=seed)

    def check(self, prompt: object) -> str:
        """Return `prompt` if it is legal, else raise InvalidPromptError."""
        problem = self.problem(prompt)
        if isinstance(prompt, str) and not problem:
            return prompt
        raise InvalidPromptError(
            f"The action of a meta-environment is a system prompt: {problem}. "
            f"Pass a str of at most {self.max_length:,} characters."
        )


class TrajectorySpace(Space[tuple[Trajectory, ...]]):
    """Batches of trajectories: the observation space of a meta-environment. `()` is the observation at reset."""

    is_np_flattenable = False

    def __init__(self, *, seed: int | None = None) -> None:
        super().__init__(dtype=object, seed=seed)

    def contains(self, x: Any) -> bool:
        """Whether `x` is a tuple of trajectories."""
        return isinstance(x, tuple) and all(isinstance(item, Trajectory) for item in x)

    def sample(self, mask: Any | None = None, probability: Any | None = None) -> tuple[Trajectory, ...]:
        """Return the empty batch: a trajectory cannot be invented."""
        return ()

    def to_jsonable(self, sample_n: Iterable[tuple[Trajectory, ...]]) -> list[list[dict[str, Any]]]:
        """Return the batches as JSON values."""
        return [[trajectory.model_dump(mode="json") for trajectory in batch] for batch in sample_n]

    def from_jsonable(self, sample_n: list[Any]) -> list[tuple[Trajectory, ...]]:
        """Reverse `to_jsonable`."""
        return [tuple(Trajectory.model_validate(item) for item in batch) for batch in sample_n]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TrajectorySpace)

    def __hash__(self) -> int:
        return hash(TrajectorySpace)

    def __repr__(self) -> str:
        return "TrajectorySpace()"
