"""The demo actors' grammar: `when <condition>, <do>`, one instruction a line.

The offline demo actors are scripted, yet sensitive to their prompt: they obey at most the first four
instructions in it, in order. That is what makes a demo prompt worth writing: room is scarce, and an
instruction that is wrong, or that contradicts an earlier one, wastes both room and steps.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

MAX_INSTRUCTIONS = 4

_INSTRUCTION = re.compile(r"^[\s\-*\d.)]*when\s+([^,\n]+),\s*(.+?)\s*\.?\s*$", re.IGNORECASE | re.MULTILINE)


class Instruction(NamedTuple):
    """One line of a demo prompt."""

    condition: str
    do: str

    def __str__(self) -> str:
        return f"when {self.condition}, {self.do}"


@lru_cache(maxsize=256)
def read_instructions(prompt: str, *, limit: int | None = MAX_INSTRUCTIONS) -> tuple[Instruction, ...]:
    """Return the first `limit` instructions of `prompt`, lower-cased, white space folded.

    >>> read_instructions("Be brave.\\n- When the gate is oak,  knock.")
    (Instruction(condition='the gate is oak', do='knock'),)
    """
    found = (
        Instruction(*(" ".join(part.lower().split()) for part in match.groups()))
        for match in _INSTRUCTION.finditer(prompt)
    )
    return tuple(found)[:limit]


def write_instructions(instructions: Iterable[Instruction]) -> str:
    """Return the instructions as lines that `read_instructions` reads back."""
    return "\n".join(f"- {instruction}" for instruction in instructions)
