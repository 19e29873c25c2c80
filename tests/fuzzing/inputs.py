"""Odd texts from a seed: what models, servers and damaged files have sent, and pieces that parsers trip over."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

PIECES = (
    *("Thought:", "Action:", "ANALYSIS:", "IMPROVED PROMPT:", "LESSON:", "ADD:", "EDIT 1:", "UPVOTE 2", "NONE"),
    *("**Action: knock**", "- when the gate is oak, push", "## Memory", "- item", "1. item", "knock", "north", "oak"),
    *("<think>", "</think>", "[THINK]", "[/THINK]", "<seed:think>", "</seed:think>", "<prompt>", "</prompt>"),
    *("```", "```json\n", "\n```", "{", "}", "[", "]", '"', ":", ",", '{"a": 1}', '{"operations": []}', "null", "true"),
    *("NaN", "Infinity", "-1e999", "9" * 5_000, "0", "-1", "1.5", "\\ud800", "\\u0000", '"\\', "'''", "=", "[["),
    *("*", "_", "#", ">", "`", "-", ".", " ", "  ", "\t", "\n", "\n\n", "\r\n", "\x00", "\x1b", "\x85", "\u2028"),
    *("\ud800", "\udfff", "\ufeff", "\u202e", "é", "😀", "data: ", "data: [DONE]", '{"choices": [{"message": {'),
    *("put a in ", "move a to ", " in ", "UPVOTE " + "8" * 30, "Map (rows 0-1, columns 0-1):", "You are at row 1,"),
)
"""Marks of every format that is read, alone."""


def odd_texts(seed: int, count: int) -> Iterator[str]:
    """Yield `count` texts: pieces in a random order, some of them repeated thousands of times."""
    rng = random.Random(seed)
    for _ in range(count):
        pieces = rng.choices(PIECES, k=rng.randrange(1, 9))
        if rng.random() < 0.05:
            pieces[rng.randrange(len(pieces))] *= rng.randrange(500, 5_000) // 10
        yield rng.choice(("", " ", "\n")).join(pieces)


def damaged(whole: bytes, seed: int, count: int) -> Iterator[bytes]:
    """Yield `count` copies of a file's content: cut, with bytes changed, with pieces put in, taken or doubled."""
    rng = random.Random(seed)
    hurt: tuple[Callable[[bytearray, int], None], ...] = (
        lambda data, at: data.__delitem__(slice(at, None)),
        lambda data, at: data.__setitem__(slice(at, at + 1), bytes([rng.randrange(256)])),
        lambda data, at: data.__delitem__(slice(at, at + rng.randrange(1, 40))),
        lambda data, at: data.__setitem__(slice(at, at), rng.choice(PIECES).encode("utf-8", "surrogatepass")),
        lambda data, at: data.__setitem__(slice(at, at), b"[" * rng.randrange(1, 4_000)),
        lambda data, at: data.__setitem__(slice(at, at), bytes(data[at : at + 400])),
        lambda data, at: data.__setitem__(slice(at, at), b"\n"),
    )
    for _ in range(count):
        data = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            rng.choice(hurt)(data, rng.randrange(len(data) + 1))
        yield bytes(data)


REPEATED = (
    *("*", " ", "\n", "[", "{", "```\n", "x```\n", "``` \n", "#* ", "<", "<think>", "<think></think>", "[THINK]"),
    *("<prompt>", "ANALYSIS:", "ANALYSIS:\n", "Action:\n", "Action: *", "Action", "LESSON:\n", "lesson ", "\nADD: "),
    *("ADD:   ", "EDIT 1", "- when a, b ", "when ", "when a,\n", "- item\n", "- item a1 b1\n  more\n", "word ", "</"),
    *(
        '{"a":',
        '{"a": 1}',
        '"',
        "\\",
        "a=1,",
        "9",
        "é",
        "\ud800",
        " in x",
        "put a in \n",
        "data: {}\n",
        "data: ",
        "\t:",
    ),
)
"""Pieces of which a text of any length is made, to see how the time grows."""
