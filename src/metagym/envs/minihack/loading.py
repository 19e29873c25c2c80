"""Imports minihack when it is first needed, and says what to install where it is missing."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
import types
import warnings
from pathlib import Path

from metagym.errors import MissingExtraError

_import_lock = threading.Lock()


def import_minihack() -> types.ModuleType:
    """Import minihack, with or without setuptools' `pkg_resources`, and return it.

    Raises:
        MissingExtraError: minihack or nle is not installed.
    """
    with _import_lock:
        if "minihack" in sys.modules:
            return sys.modules["minihack"]
        for name in ("minihack", "nle"):
            if importlib.util.find_spec(name) is None:
                raise MissingExtraError(
                    f"MiniHack's environments need the package {name!r}, which is not installed. "
                    "Run: pip install 'metagym[minihack]'"
                )
        # minihack asks `pkg_resources` for the folders of two packages. The newest setuptools has none,
        # older ones take seconds to import and warn that it is deprecated: a stand-in serves both.
        present = sys.modules.get("pkg_resources")
        sys.modules["pkg_resources"] = present or _stand_in()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                return importlib.import_module("minihack")
        finally:
            if present is None:
                del sys.modules["pkg_resources"]


def _stand_in() -> types.ModuleType:
    def resource_filename(package: str, resource: str) -> str:
        spec = importlib.util.find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        return str(Path(spec.origin).parent / resource)

    module = types.ModuleType("pkg_resources")
    module.resource_filename = resource_filename  # type: ignore[attr-defined]
    return module
