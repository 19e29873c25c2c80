"""Find what changed from one prompt to the next, word by word."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import Literal

Change = tuple[Literal["=", "-", "+"], str]
"""(kept, removed or added; the text)"""
_WORDS = re.compile(r"\s+|\w+|[^\w\s]")
MAX_CELLS = 4_000_000
"""With more pairs of words than this, lines are compared; with more pairs of lines, the whole text is replaced."""


def word_diff(old: str, new: str) -> list[Change]:
    """Return the changes from `old` to `new`: kept and removed texts give `old`, kept and added texts give `new`.

    >>> word_diff("Be brave.", "Be very careful.")
    [('=', 'Be '), ('-', 'brave'), ('+', 'very careful'), ('=', '.')]
    """
    start = _common(old, new)
    end = _common(old[start:][::-1], new[start:][::-1])
    # Do not cut a word in two at the end of the shared text.
    while start and not old[start - 1].isspace():
        start -= 1
    while end and not old[len(old) - end].isspace():
        end -= 1
    before, after = old[:start], old[len(old) - end :] if end else ""
    middle = _compare(old[start : len(old) - end], new[start : len(new) - end])
    return _joined([("=", before), *middle, ("=", after)])


def _common(one: str, two: str) -> int:
    length = 0
    for mine, theirs in zip(one, two, strict=False):
        if mine != theirs:
            break
        length += 1
    return length


def _compare(old: str, new: str) -> list[Change]:
    for split in (_WORDS.findall, lambda text: text.splitlines(keepends=True)):
        mine, theirs = split(old), split(new)
        if len(mine) * len(theirs) <= MAX_CELLS:
            break
    else:
        return [("-", old), ("+", new)]
    changes: list[Change] = []
    for kind, a, b, c, d in SequenceMatcher(None, mine, theirs, autojunk=False).get_opcodes():
        if kind == "equal":
            changes.append(("=", "".join(mine[a:b])))
        else:
            changes += [("-", "".join(mine[a:b])), ("+", "".join(theirs[c:d]))]
    return changes


def _joined(changes: list[Change]) -> list[Change]:
    """Join neighbours of one kind; a single space between two changes belongs to them."""
    found: list[Change] = []
    removed = added = ""
    last = len(changes) - 1
    for index, (kind, text) in enumerate(changes):
        is_space = text.isspace() and "\n" not in text and 0 < index < last and bool(removed or added)
        if kind == "-":
            removed += text
        elif kind == "+":
            added += text
        elif is_space and any(item[0] != "=" and item[1] for item in changes[index + 1 : index + 3]):
            removed, added = removed + text, added + text
        elif text:
            found += _pair(removed, added)
            removed = added = ""
            found.append(("=", text))
    return _aligned(found + _pair(removed, added))


def _aligned(changes: list[Change]) -> list[Change]:
    """Move a single change to the start of its line if the text around it allows that: the result is the same."""
    for index in range(1, len(changes) - 1):
        (before, head), (kind, text), (after, tail) = changes[index - 1 : index + 2]
        if kind == "=" or before != "=" or after != "=":
            continue
        reach = _common(head[::-1], text[::-1])
        shift = len(head) - (head.rfind("\n") + 1)
        if 0 < shift <= reach and "\n" in text:
            moved = head[-shift:]
            changes[index - 1 : index + 2] = [
                ("=", head[:-shift]),
                (kind, moved + text[:-shift]),
                ("=", moved + tail),
            ]
    return changes


def _pair(removed: str, added: str) -> list[Change]:
    pair: list[Change] = [("-", removed), ("+", added)]
    return [change for change in pair if change[1]]
