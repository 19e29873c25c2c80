"""Python, the packages of metagym's metadata (are they installed, in versions that fit together?), and the games."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from metagym._version import __version__
from metagym.doctor.finding import Finding, ok, problem, warning
from metagym.errors import ConfigError, MissingExtraError
from metagym.imports import declared_requirements, install_command, is_own, package_versions

MIN_PYTHON = (3, 11)
_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[[^\]]*\])?([^;]*)")
NOT_CHECKED: Final = frozenset({"all", "dev", "browser", "docs"})
"""The extra that is all others, and those for work on metagym."""
_EXTRA = re.compile(r"""extra\s*==\s*["']([\w-]+)["']""")
_BOUND = re.compile(r"(==|>=|<=|<|>|~=|!=)\s*([\w.*+]+)")


class Requirement(NamedTuple):
    """One package that metagym needs; `bounds` are such as `>=2,<4`, and `extra` is empty for the base."""

    name: str
    bounds: str
    extra: str

    def allows(self, version: str) -> bool:
        """Whether a version is within the bounds `==`, `>=` and `<`; other signs are ignored."""
        have = _numbers(version)
        for sign, bound in _BOUND.findall(self.bounds):
            wanted = _numbers(bound)
            padded = have + (0,) * (len(wanted) - len(have))
            is_kept = {"==": padded[: len(wanted)] == wanted, ">=": padded >= wanted, "<": padded < wanted}
            if not is_kept.get(sign, True):
                return False
        return True


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> Finding:
    """Check the version of Python."""
    found = f"Python {'.'.join(map(str, version))} on {platform.system()} {platform.machine()}, at {sys.executable}"
    if version[:2] < MIN_PYTHON:
        wanted = ".".join(map(str, MIN_PYTHON))
        return problem("python", f"expected Python {wanted} or later, got {found}", f"python{wanted} -m venv .venv")
    return ok("python", found)


def check_packages(requirements: Iterable[Requirement] | None = None) -> Iterator[Finding]:
    """Check the base and each extra: is it complete, and are the versions allowed?"""
    found = list(own_requirements() if requirements is None else requirements)
    if not found:
        message = f"metagym {__version__} has no package metadata, so the versions that it needs are not known"
        yield warning("metagym", message, "in a checkout: pip install -e .")
        return
    for extra in sorted({item.extra for item in found} - NOT_CHECKED):
        group = [item for item in found if item.extra == extra]
        # A package of another extra is no sign that this extra was installed.
        others = {item.name for item in found if item.extra not in {extra, *NOT_CHECKED}}
        yield _check_group(extra, group, signs={item.name for item in group} - others)
    yield from _check_pins()


def check_namesake() -> Iterator[Finding]:
    """Check that no other project called metagym is installed: the public index holds one."""
    for distribution in importlib.metadata.distributions(name="metagym"):
        if not is_own(distribution):
            found = f"{distribution.version}, at {distribution.locate_file('')}"
            message = f"expected this project, got an unrelated project of the same name, {found}"
            yield problem("metagym", message, "pip uninstall metagym, then in a checkout: pip install -e .")


def own_requirements() -> list[Requirement]:
    """Return the requirements of metagym, from its metadata or in a checkout from its pyproject.toml."""
    return [read_requirement(text) for text in declared_requirements()]


def read_requirement(text: str) -> Requirement:
    """Read a requirement in the form of package metadata.

    >>> read_requirement('nle==1.3.0; extra == "minihack"')
    Requirement(name='nle', bounds='==1.3.0', extra='minihack')
    """
    found = _REQUIREMENT.match(text.strip())
    assert found is not None
    extra = _EXTRA.search(text)
    return Requirement(found[1], found[2].strip("() "), extra[1] if extra else "")


def version_of(name: str) -> str | None:
    """Return the version of an installed package; None if it is not installed."""
    return package_versions(name).get(name)


def check_minihack() -> Iterator[Finding]:
    """Check that MiniHack loads, if it is installed: a wrong build fails only when it is imported."""
    if version_of("minihack") is None and version_of("nle") is None:
        return
    from metagym.envs.minihack.engine import import_minihack

    try:
        import_minihack()
    except MissingExtraError as error:
        yield problem("minihack", str(error), install_command("minihack"))
    except Exception as error:
        remedy = install_command("minihack").replace("install", "install --force-reinstall", 1)
        yield problem("minihack", f"it is installed, but does not load: {type(error).__name__}: {error}", remedy)
    else:
        # metagym replaces the `pkg_resources` that minihack imports.
        setuptools = "" if version_of("setuptools") else " (without setuptools, which metagym replaces)"
        yield ok("minihack", f"NetHack's engine loads{setuptools}")


def check_games() -> Finding:
    """Check that ALFWORLD_DATA, if it is set, names the official games."""
    from metagym.envs.alfworld.official_games import find_games_folder

    try:
        folder = find_games_folder()
    except ConfigError as error:
        return problem("games", str(error), "alfworld-download, then export ALFWORLD_DATA=FOLDER; or unset it")
    if folder is None:
        return ok("games", "ALFWORLD_DATA is not set: ALFWorld plays generated games")
    return ok("games", f"ALFWorld plays the official games in {folder}")


def check_tools() -> Finding:
    """Check that the package of `MetaGym/Tools-v0` is there, and loads."""
    if version_of("bfcl-eval") is None:
        return ok("tools", f"bfcl-eval is not installed. To install it: {install_command('bfcl-eval')}")
    from metagym.envs.tools import load_tasks

    try:
        number = len(load_tasks())
    except Exception as error:
        message = f"bfcl-eval is installed, but does not load: {type(error).__name__}: {error}"
        remedy = install_command("bfcl-eval").replace("install", "install --force-reinstall", 1)
        return problem("tools", message, remedy)
    return ok("tools", f"bfcl-eval {version_of('bfcl-eval')} has {number} tasks for MetaGym/Tools-v0")


def _check_group(extra: str, group: list[Requirement], *, signs: set[str]) -> Finding:
    """Check the base (`extra` is empty) or an extra, which counts as installed if one of `signs` is installed."""
    topic, remedy = f"metagym[{extra}]" if extra else "metagym", install_command(extra)
    versions = {item.name: version_of(item.name) for item in group}
    if extra and all(versions[name] is None for name in signs):
        return ok(topic, f"not installed. To install it: {remedy}")
    wrong = [item for item in group if (version := versions[item.name]) is not None and not item.allows(version)]
    if wrong:
        shown = ", ".join(f"{item.name}{item.bounds}, got {versions[item.name]}" for item in wrong)
        return problem(topic, f"expected {shown}", remedy)
    if missing := [name for name, version in versions.items() if version is None]:
        state = warning if extra else problem
        return state(topic, f"incomplete: expected {', '.join(missing)} too, not installed", remedy)
    return ok(topic, ", ".join(f"{name} {version}" for name, version in versions.items()))


def _check_pins() -> Iterator[Finding]:
    """Check the exact versions that the packages of environments need, as nle does of gymnasium."""
    for package in ("nle", "minihack", "alfworld", "textworld"):
        requirements = importlib.metadata.requires(package) if version_of(package) else None
        for item in map(read_requirement, requirements or []):
            version = version_of(item.name)
            if not item.extra and item.bounds.startswith("==") and version is not None and not item.allows(version):
                message = f"{package} {version_of(package)} expects {item.name}{item.bounds}, got {item.name} {version}"
                yield problem(item.name, message, f"pip install '{item.name}{item.bounds}'")


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()
