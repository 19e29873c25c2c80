"""Imports by name: an object at an import path, and optional packages with the command that installs them."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
from typing import Any

from metagym.errors import ConfigError, MissingExtraError


def import_object(path: str) -> Any:
    """Import and return the object at `package.module:name`.

    Raises:
        ConfigError: the module cannot be imported, or has no such name.
    """
    module_name, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"Expected an import path 'package.module:name', got {path!r}: {error}") from error


def require(module: str, *, extra: str) -> Any:
    """Import and return an optional module.

    Raises:
        MissingExtraError: the module is not installed; the message holds the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # the package is installed, and an import inside it failed
        raise missing_extra(module.partition(".")[0], extra) from error


def missing_extra(package: str, extra: str) -> MissingExtraError:
    """Return the error for a package that is not installed; its message holds the command that installs it."""
    return MissingExtraError(f"Expected the package {package!r}, which is not installed. Run: {install_command(extra)}")


def install_command(extra: str) -> str:
    """Return the command that installs what `extra` needs, read from this project's own metadata.

    The command names the packages themselves: the index holds an unrelated project called metagym.

    >>> install_command("minihack")
    'pip install minihack==1.0.2 nle==1.3.0'
    """
    try:
        declared = importlib.metadata.requires("metagym") or []
    except importlib.metadata.PackageNotFoundError:  # a checkout that is on the path and was never installed
        declared = []
    wanted = re.compile(rf"""extra\s*==\s*['"]{re.escape(extra)}['"]""")
    packages = []
    for line in declared:
        requirement, _, marker = line.partition(";")
        if wanted.search(marker) and not requirement.startswith("metagym"):
            requirement = requirement.strip()
            packages.append(f"'{requirement}'" if re.search(r"[<>\[ ,]", requirement) else requirement)
    return " ".join(["pip", "install", *(packages or [extra])])
