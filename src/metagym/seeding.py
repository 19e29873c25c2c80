"""Seeds, digests and descriptions: one number or name from many parts, equal in every process."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from typing import Any

from metagym.extensions import extension_of


def digest(value: Any, *, length: int = 16) -> str:
    """Return a hex digest of a JSON value; equal values give equal digests in any process."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def derive_seed(*parts: int | str) -> int:
    """Return a seed from the parts, in [0, 2**31): the range that servers and generators accept."""
    return int(digest(list(parts), length=8), 16) >> 1


def describe(part: object) -> Any:
    """Return the identity of a part for a fingerprint: its own `fingerprint`, else its qualified name."""
    if part is None or isinstance(part, str | int | float | bool):
        return part
    own = extension_of(part).fingerprint
    if own is not None:
        return own
    return import_path(part)


def import_path(part: object) -> str:
    """Return `package.module:Name` of a function or class, or of the class of any other object."""
    named: Any = part if hasattr(part, "__qualname__") else type(part)
    return f"{named.__module__}:{named.__qualname__}"


def package_versions(*names: str) -> dict[str, str]:
    """Return the installed version of each package; a package that is not installed is left out."""
    versions = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def step_seed(episode_seed: int, step: int) -> int:
    """Return the seed of one step of an episode; much faster than `derive_seed`."""
    return int.from_bytes(hashlib.sha256(b"%d/%d" % (episode_seed, step)).digest()[:4]) >> 1
