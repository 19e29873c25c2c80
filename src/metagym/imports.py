"""Imports by name: an object at an import path, and optional packages with the command that installs them."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import re
import tomllib
from pathlib import Path
from typing import Any

from metagym.errors import ConfigError, MissingExtraError

BY_THEIR_OWN_COMMAND = {"bfcl-eval": "pip install --no-deps bfcl-eval==2026.3.23 mpmath==1.3.0"}
"""Packages that no extra can have: they pin versions that nothing here needs, so they come without dependencies."""


def import_object(path: str) -> Any:
    """Import and return the object at `package.module:name`."""
    module_name, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"Expected an import path 'package.module:name', got {path!r}: {error}") from error


def require(module: str, *, extra: str = "") -> Any:
    """Import and return an optional module; `extra` is empty for a package that no extra of metagym has."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # the package is installed, and an import inside it failed
        raise missing_extra(module.partition(".")[0], extra) from error


def missing_extra(package: str, extra: str) -> MissingExtraError:
    """Return the error for a package that is not installed; its message holds the command that installs it."""
    command = install_command(extra) if extra else f"pip install {package}"
    return MissingExtraError(f"Expected the package {package!r}, which is not installed. Run: {command}")


def install_command(extra: str) -> str:
    """Return the command that installs the packages of `extra`, or of the base if it is empty.

    The command names the packages themselves: the index holds an unrelated project called metagym.

    >>> install_command("minihack")
    'pip install minihack==1.0.2 nle==1.3.0'
    """
    wanted = re.compile(rf"""extra\s*==\s*['"]{re.escape(extra)}['"]""") if extra else re.compile(r"^((?!extra).)*$")
    if extra in BY_THEIR_OWN_COMMAND:
        return BY_THEIR_OWN_COMMAND[extra]
    packages = []
    for line in declared_requirements():
        requirement, _, marker = (part.strip() for part in line.partition(";"))
        if wanted.search(marker) and not requirement.startswith("metagym"):
            packages.append(f"'{requirement}'" if re.search(r"[<>\[ ,]", requirement) else requirement)
    if not packages:  # neither metadata nor a checkout
        return f"pip install -e '.[{extra}]', in a checkout of metagym"
    return " ".join(["pip", "install", *packages])


def declared_requirements() -> list[str]:
    """Return the requirements of this project, as metadata writes them; empty if they are not known."""
    for distribution in importlib.metadata.distributions(name="metagym"):
        if is_own(distribution):
            return distribution.requires or []
    file = Path(__file__).parents[2] / "pyproject.toml"  # of a checkout that is not installed
    if not file.is_file():
        return []
    project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].items()
    return [*project["dependencies"], *(f'{item}; extra == "{extra}"' for extra, items in extras for item in items)]


def is_own(distribution: importlib.metadata.Distribution) -> bool:
    """Whether an installed distribution called metagym is this project, and not the unrelated one of the index."""
    return any(entry.module == "metagym.cli" for entry in distribution.entry_points)


def package_versions(*names: str) -> dict[str, str]:
    """Return the installed version of each package; a package that is not installed is left out."""
    versions = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions
