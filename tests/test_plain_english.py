"""Plain English: docstrings, comments, messages and pages avoid the words that only insiders read easily.

The list is in CONTRIBUTING.md. A use that is honest (a place is asked for, something is really said) goes to ALLOWED.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

SRC = ROOT / "src" / "metagym"
"""The checkout, also if another copy is installed."""
MOST_USES = {r"\bwhere\b": 50, r"\bwhat (?:is|was|it|its)\b|\breturn what\b": 15}
"""Uses in docstrings and comments of all of src: "where" for a place, "what" if there is no noun for it."""
WORDS = {
    r"go(?:es|ne|ing)? on with": "resume, continue",
    r"\banew\b|\bafresh\b": "again",
    r"\bcomes? again\b": "is retried, is played again",
    r"(?<!there )\b(?:is|are) (?-i:none)\b": "there is no ..., returned no usable ..., invalid",
    r"\b(?:is|are|was|were) told\b": "is given the message, reports",
    r"\bmend(?:s|ed|ing)?\b": "fix",
    r"\bstands? for\b": "means, is replaced by",
    r"\btold apart\b": "differ",
    r"\bapparatus\b": "infrastructure error, failed for infrastructure reasons",
    r"\bso (?:many|long|often) (?:as|[a-z]+s\b)": "a number, a limit, up to N times",
    r"\bof (?:yours|one's own)\b": "your own",
    r"\bwhat was taken\b": "tokens, calls and money used",
    r"\b(?:gives?|gave|given) out\b": "runs out, ends",
    r"(?:^|[.;:] )Where (?!to |is |are |do |does |can |should |inner )": "If",
    r", where (?:it|that|this|there|they|none|nothing|no|one|an?|the|wanted|given|asked)\b": "if",
}
ALLOWED: tuple[str, ...] = ()
PATTERN = re.compile("|".join(f"(?:{word})" for word in WORDS), re.IGNORECASE | re.MULTILINE)


def sources() -> list[Path]:
    return sorted(SRC.rglob("*.py"))


def pages() -> list[Path]:
    named = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "RELEASING.md", "SECURITY.md")]
    return sorted([*named, *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.py")])


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the comments and texts of a module, or a page without its code, each with its line number."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type in (tokenize.COMMENT, tokenize.STRING):
                yield token.start[0], token.string
        return
    is_code = False
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("```"):
            is_code = not is_code
        elif not is_code:
            yield number, line


@pytest.mark.parametrize("path", [*sources(), *pages()], ids=lambda path: str(path.relative_to(ROOT)))
def test_the_dialect_is_gone(path: Path) -> None:
    found = [
        f"{path.name}:{number}: {match[0]!r} in {' '.join(text.split())[:120]}"
        for number, text in prose(path)
        for match in PATTERN.finditer(text)
        if not any(allowed in text for allowed in ALLOWED)
    ]
    assert found == [], "\n".join(found)


@pytest.mark.parametrize("word", MOST_USES)
def test_a_word_is_rare(word: str) -> None:
    uses = [
        f"{path.relative_to(SRC)}:{number}"
        for path in sources()
        for number, text in prose(path)
        if text.startswith(("#", '"""', 'r"""'))
        for _ in re.finditer(word, text, re.IGNORECASE)
    ]
    assert len(uses) <= MOST_USES[word], f"{len(uses)} uses: {uses}"
