"""Optional packages: imported where they are needed, by one function that names the extra to install."""

from __future__ import annotations

import importlib
from typing import Any

from metagym.errors import MissingExtraError


def require(module: str, *, extra: str = "train") -> Any:
    """Import and return an optional module.

    Raises:
        MissingExtraError: it is not installed; the message names the extra.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise  # the package is there, and something inside it is broken
        package = module.partition(".")[0]
        raise MissingExtraError(
            f"This needs the package {package!r}, which is not installed. pip install 'metagym[{extra}]'"
        ) from error
