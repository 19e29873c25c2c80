"""Text that shows what is in it: control characters, direction marks and the like get a visible sign."""

from __future__ import annotations

import re

# The same table stands in static/script/elements.js for text that the browser lays out.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]"
)


def visible(text: str) -> str:
    """Return `text` with each invisible or direction-changing character as a sign: `␀`, `␛`, `[U+202E]`.

    Line feeds and tabs stay.

    >>> visible("a\\x00b\\u202ec")
    'a␀b[U+202E]c'
    """
    return _HIDDEN.sub(lambda found: _sign(found[0]), text)


def _sign(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"[U+{code:04X}]"
