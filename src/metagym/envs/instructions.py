"""The common part of the demo actors: the grammar of their prompts, `when <condition>, <do>`, and random slips.

The demo actors are scripted, but they obey the first four instructions of their prompt, in order. So a prompt matters:
it has little room, and an instruction that is wrong, or that contradicts an earlier one, wastes room and steps.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from metagym.errors import ConfigError
from metagym.types import Reflection

MAX_INSTRUCTIONS = 4

_INSTRUCTION = re.compile(r"^[ \t\-*\d.)]*+when[ \t]++([^,\n]++),(.*[^\s.].*)$", re.IGNORECASE | re.MULTILINE)


class Instruction(NamedTuple):
    """One line of a demo prompt."""

    condition: str
    do: str

    def __str__(self) -> str:
        return f"when {self.condition}, {self.do}"


@lru_cache(maxsize=256)
def read_instructions(prompt: str, *, limit: int | None = MAX_INSTRUCTIONS) -> tuple[Instruction, ...]:
    """Return the first `limit` instructions of `prompt`, in lower case and with single spaces.

    >>> read_instructions("Be brave.\\n- When the gate is oak,  knock.")
    (Instruction(condition='the gate is oak', do='knock'),)
    """
    found = (
        Instruction(*(" ".join(part.lower().split()) for part in (match[1], match[2].rstrip().removesuffix("."))))
        for match in _INSTRUCTION.finditer(prompt)
    )
    return tuple(found)[:limit]


def write_instructions(instructions: Iterable[Instruction]) -> str:
    """Return the instructions as lines that `read_instructions` can read."""
    return "\n".join(f"- {instruction}" for instruction in instructions)


def rewrite(prompt: str, *, added: Sequence[Instruction], dropped: Sequence[Instruction]) -> Reflection:
    """Return `prompt` without the lines of the dropped instructions, and with the added ones at its end."""
    lines = [line for line in prompt.splitlines() if not set(read_instructions(line)) & set(dropped)]
    lines += [f"- {item}" for item in added]
    shown = [", ".join(map(str, items)) or "nothing" for items in (added, dropped)]
    return Reflection(prompt="\n".join(lines), analysis=f"Added: {shown[0]}. Dropped: {shown[1]}.", scripted=True)


def check_slip(slip: float) -> float:
    """Return `slip`, the probability of a random action."""
    if not 0.0 <= slip <= 1.0:
        raise ConfigError(f"slip must be a probability from 0 to 1, got {slip}.")
    return slip


def draw_slip(slip: float, available: Sequence[str], *, seed: int, num_steps: int) -> str | None:
    """Return a random available action with probability `slip`, else None. The seed and the step decide the draw."""
    if not slip or not available:
        return None
    rng = np.random.default_rng((seed, num_steps))
    return available[int(rng.integers(len(available)))] if rng.random() < slip else None
