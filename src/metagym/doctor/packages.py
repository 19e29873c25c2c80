"""Python and the packages: are those that metagym's own metadata asks for there, in versions that go together?"""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import metagym
from metagym.doctor.finding import Finding, ok, problem, warning
from metagym.errors import MissingExtraError

MIN_PYTHON = (3, 11)
_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[[^\]]*\])?([^;]*)")
_EXTRA = re.compile(r"""extra\s*==\s*["']([\w-]+)["']""")
_BOUND = re.compile(r"(==|>=|<=|<|>|~=|!=)\s*([\w.*+]+)")


class Requirement(NamedTuple):
    """One package that is asked for."""

    name: str
    bounds: str
    """Such as `>=2,<4`; empty where any version will do."""
    extra: str
    """The extra that asks for it; empty for the base."""

    def allows(self, version: str) -> bool:
        """Whether a version keeps the bounds `==`, `>=` and `<`; others are not looked at."""
        have = _numbers(version)
        for sign, bound in _BOUND.findall(self.bounds):
            wanted = _numbers(bound)
            padded = have + (0,) * (len(wanted) - len(have))
            is_broken = {
                "==": padded[: len(wanted)] != wanted,
                ">=": padded < wanted,
                "<": padded >= wanted,
            }.get(sign, False)
            if is_broken:
                return False
        return True


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> Finding:
    """Check the version of Python."""
    shown = ".".join(map(str, version))
    where = f"Python {shown} on {platform.system()} {platform.machine()}, at {sys.executable}"
    if version[:2] < MIN_PYTHON:
        wanted = ".".join(map(str, MIN_PYTHON))
        return problem("python", f"expected Python {wanted} or later, got {where}", f"python{wanted} -m venv .venv")
    return ok("python", where)


def check_packages(requirements: Iterable[Requirement] | None = None) -> Iterator[Finding]:
    """Check the base and each extra: is it whole, and do the versions fit?"""
    found = list(own_requirements() if requirements is None else requirements)
    if not found:
        remedy = "pip install metagym, or in a checkout: pip install -e ."
        yield warning("metagym", f"{metagym.__version__} has no package metadata: its pins are not known", remedy)
        return
    for extra in sorted({item.extra for item in found} - {"all", "dev"}):
        group = [item for item in found if item.extra == extra]
        # What another extra asks for too does not tell that this one was meant to be installed.
        others = {item.name for item in found if item.extra not in (extra, "all", "dev")}
        yield _check_group(extra, group, signs={item.name for item in group} - others)
    yield from _check_pins()


def own_requirements() -> list[Requirement]:
    """Return what metagym asks for, by its metadata, or in a checkout by its pyproject.toml."""
    try:
        texts = importlib.metadata.requires("metagym") or []
    except importlib.metadata.PackageNotFoundError:
        file = Path(metagym.__file__).parents[2] / "pyproject.toml"
        if not file.is_file():
            return []
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        texts = list(project["dependencies"])
        for extra, items in project["optional-dependencies"].items():
            texts += [f'{item}; extra == "{extra}"' for item in items]
    return [read_requirement(text) for text in texts]


def read_requirement(text: str) -> Requirement:
    """Read a requirement as metadata writes it.

    >>> read_requirement('nle==1.3.0; extra == "minihack"')
    Requirement(name='nle', bounds='==1.3.0', extra='minihack')
    """
    found = _REQUIREMENT.match(text.strip())
    assert found is not None
    extra = _EXTRA.search(text)
    return Requirement(found[1], found[2].strip("() "), extra[1] if extra else "")


def version_of(name: str) -> str | None:
    """Return the version of an installed package; None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_minihack() -> Iterator[Finding]:
    """Check that MiniHack really loads, where it is installed: a wrong build shows only then."""
    if version_of("minihack") is None and version_of("nle") is None:
        return
    from metagym.envs.minihack.engine import import_minihack

    try:
        import_minihack()
    except MissingExtraError as error:
        yield problem("minihack", str(error), "pip install 'metagym[minihack]'")
    except Exception as error:
        remedy = "pip install --force-reinstall 'metagym[minihack]'"
        yield problem("minihack", f"it is installed, and does not load: {type(error).__name__}: {error}", remedy)
    else:
        # metagym stands in for the `pkg_resources` that minihack asks for.
        setuptools = "" if version_of("setuptools") else " (without setuptools, which metagym stands in for)"
        yield ok("minihack", f"NetHack's engine loads{setuptools}")


def _check_group(extra: str, group: list[Requirement], *, signs: set[str]) -> Finding:
    """Check the base (`extra` is empty) or an extra; it counts as installed where one of `signs` is."""
    topic = f"metagym[{extra}]" if extra else "metagym"
    remedy = f"pip install {topic!r}" if extra else "pip install metagym"
    versions = {item.name: version_of(item.name) for item in group}
    missing = [name for name, version in versions.items() if version is None]
    is_wanted = not extra or any(versions[name] is not None for name in signs)
    wrong = [item for item in group if (version := versions[item.name]) is not None and not item.allows(version)]
    if is_wanted and wrong:
        shown = ", ".join(f"{item.name}{item.bounds}, got {versions[item.name]}" for item in wrong)
        return problem(topic, f"expected {shown}", remedy)
    if not is_wanted:
        return ok(topic, f"not installed; {remedy}")
    if missing:
        state = warning if extra else problem
        return state(topic, f"not whole: expected {', '.join(missing)} too, which are not installed", remedy)
    return ok(topic, ", ".join(f"{name} {version}" for name, version in versions.items()))


def _check_pins() -> Iterator[Finding]:
    """Check what the environments' own packages pin exactly, as nle does with gymnasium."""
    for package in ("nle", "minihack", "alfworld", "textworld"):
        if version_of(package) is None:
            continue
        for item in map(read_requirement, importlib.metadata.requires(package) or []):
            version = version_of(item.name)
            if not item.extra and item.bounds.startswith("==") and version is not None and not item.allows(version):
                told = f"{package} {version_of(package)} expects {item.name}{item.bounds}, got {item.name} {version}"
                yield problem(item.name, told, f"pip install '{item.name}{item.bounds}'")


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()
