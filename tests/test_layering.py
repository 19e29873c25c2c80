"""Imports point one way: a unit (a top-level module or package) imports only from units on lower floors.

A unit's floor is one above the highest unit that it imports; imports inside functions, imports for the type
checker and import paths in strings (`"metagym.envs.gates.meta:GatesMetaEnv"`) count like any other.
"""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

from tests.conftest import SRC

MAX_UNITS = 38
MAX_FLOORS = 14
MAX_LINES = 350
INNER = {"types", "tasks", "spaces", "errors", "imports", "tools"}
"""What `envs/*/env.py` and the modules beside it may import."""
META = INNER | {"env", "actor", "reflectors", "optional_attributes"}
"""What `envs/*/meta.py` may import."""
PATH = re.compile(r"metagym((?:\.\w+)+):\w+")


def modules() -> list[Path]:
    return sorted(SRC.rglob("*.py"))


@functools.cache
def imports_of(path: Path) -> frozenset[str]:
    """Return the metagym modules that a file imports, as dotted names below `metagym`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "metagym":
            rest = node.module.split(".")[1:]
            names = {alias.name for alias in node.names}
            # A name may be a module of the package: `from metagym.envs.alfworld import generate`.
            found |= {".".join([*rest, name]) for name in names if (SRC.joinpath(*rest) / f"{name}.py").exists()}
            if any(not (SRC.joinpath(*rest) / f"{name}.py").exists() for name in names) and rest:
                found.add(".".join(rest))
            if not rest and not names <= UNITS:
                found.add("__init__")  # a name at the top: `from metagym import optimize`
        elif isinstance(node, ast.Import) and any(alias.name == "metagym" for alias in node.names):
            found.add("__init__")
        elif isinstance(node, ast.Import):
            names = {alias.name.removeprefix("metagym.") for alias in node.names if alias.name.startswith("metagym.")}
            found |= names
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            path_in_string = PATH.fullmatch(node.value)
            if path_in_string and path_in_string[1][1:].split(".")[0] in UNITS:
                found.add(path_in_string[1][1:])
    return frozenset(found)


def unit_of(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


UNITS = {unit_of(path) for path in modules()}


def graph() -> dict[str, set[str]]:
    edges: dict[str, set[str]] = {unit: set() for unit in UNITS}
    for path in modules():
        edges[unit_of(path)] |= {name.split(".")[0] for name in imports_of(path)} & UNITS - {unit_of(path)}
    return edges


def floors() -> dict[str, int]:
    edges, found = graph(), dict[str, int]()

    def floor(unit: str, trail: tuple[str, ...]) -> int:
        assert unit not in trail, f"a circle of imports: {' -> '.join((*trail, unit))}"
        if unit not in found:
            found[unit] = 1 + max((floor(other, (*trail, unit)) for other in sorted(edges[unit])), default=0)
        return found[unit]

    for unit in sorted(edges):
        floor(unit, ())
    return found


def test_units_form_few_floors_without_a_circle() -> None:
    found = floors()
    assert len(found) <= MAX_UNITS, sorted(found)
    assert max(found.values()) <= MAX_FLOORS, sorted(found.items(), key=lambda item: item[1])


def test_no_two_modules_import_each_other_in_a_circle() -> None:
    edges = {_dotted(path): {_file(name) for name in imports_of(path)} - {_dotted(path)} for path in modules()}
    edges = {name: {other for other in others if other in edges} for name, others in edges.items()}
    edges.pop("__init__")
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"a circle of imports: {' -> '.join((*trail[trail.index(name) :], name))}"
        if name not in done:
            for other in sorted(edges.get(name, ())):
                visit(other, (*trail, name))
            done.add(name)

    for name in sorted(edges):
        visit(name, ())


def _dotted(path: Path) -> str:
    return ".".join(path.relative_to(SRC).with_suffix("").parts)


def _file(name: str) -> str:
    """Return the file that an import of `name` reads: a module, or a package's `__init__`."""
    return f"{name}.__init__" if (SRC / name.replace(".", "/")).is_dir() else name


@pytest.mark.parametrize(
    "path",
    [path for path in modules() if "envs" in path.relative_to(SRC).parts],
    ids=lambda path: str(path.relative_to(SRC)),
)
def test_an_environment_imports_the_nouns_and_its_meta_module_the_meta_environment(path: Path) -> None:
    package = ".".join(path.relative_to(SRC).parts[:-1][:2])  # an environment's folder, subfolders included
    allowed = META if path.name == "meta.py" else INNER
    seen = {name for name in imports_of(path) if not name.startswith((package, "envs.instructions", "envs.java"))}
    assert {name.split(".")[0] for name in seen} <= allowed, f"{path.name} may not import {sorted(seen)}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SRC)))
def test_no_file_is_too_long(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES
