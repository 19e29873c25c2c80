"""Seeds and digests: one number or name from many parts, the same in every process."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def digest(value: Any, *, length: int = 16) -> str:
    """Return a hex digest of a JSON value; equal values give equal digests in any process."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def derive_seed(*parts: int | str) -> int:
    """Return a seed in [0, 2**31) from the parts, as servers and generators take it."""
    return int(digest(list(parts), length=8), 16) >> 1
