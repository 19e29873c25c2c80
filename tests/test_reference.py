"""The reference documents every public name: each has a docstring, and each that the docs import stands in it."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import metagym
from metagym import types
from metagym.errors import MissingExtraError
from tests.conftest import ROOT
from tests.test_docs import PAGES, fences

REFERENCE = ROOT / "docs" / "api"
MODULES = sorted(runpy.run_path(str(ROOT / "docs" / "_ext" / "modules.py"))["documented"]())


def load(module_name: str) -> Any:
    """Import a module; training's own want torch."""
    try:
        return importlib.import_module(module_name)
    except MissingExtraError as error:
        pytest.skip(str(error))


def public_names(module: Any) -> list[str]:
    """Return what a module shows: its `__all__`, or what it defines without an underscore."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    return [name for name, item in vars(module).items() if name[0] != "_" and is_defined_in(item, module)]


def is_defined_in(item: Any, module: Any) -> bool:
    return (inspect.isclass(item) or inspect.isfunction(item)) and item.__module__ == module.__name__


@pytest.mark.parametrize("module_name", MODULES)
def test_every_public_name_has_a_docstring(module_name: str) -> None:
    module = load(module_name)
    assert module.__doc__
    for name in public_names(module):
        item = getattr(module, name)
        if inspect.isclass(item) or inspect.isfunction(item):
            assert inspect.getdoc(item), f"{module_name}.{name} has no docstring"
        if inspect.isclass(item):
            for member, value in vars(item).items():
                if member[0] != "_" and (inspect.isfunction(value) or isinstance(value, property | classmethod)):
                    assert inspect.getdoc(getattr(item, member)), f"{module_name}.{name}.{member} has no docstring"


@pytest.mark.parametrize(
    "record", [item for item in vars(types).values() if is_defined_in(item, types)], ids=lambda item: item.__name__
)
def test_every_field_of_the_nouns_is_described(record: Any) -> None:
    for name, field in getattr(record, "model_fields", {}).items():
        assert field.description, f"{record.__name__}.{name} is not described"


def test_the_names_at_the_top_are_all_listed() -> None:
    text = (REFERENCE / "metagym.md").read_text(encoding="utf-8")
    listed = re.findall(r"^   (\w+)$", text, re.MULTILINE)
    assert sorted(listed) == sorted(set(metagym.__all__) - {"__version__"})


@pytest.mark.parametrize("name", sorted(set(metagym.__all__) - {"__version__"}))
def test_a_name_at_the_top_is_documented_by_a_module(name: str) -> None:
    item = getattr(metagym, name)
    homes = [module for module in MODULES if item.__module__ == module or item.__module__.startswith(f"{module}.")]
    assert any(name in public_names(load(home)) for home in homes), f"{name} is in no module of docs/api"


def imported(source: str) -> Iterator[tuple[str, str]]:
    """Yield each `from metagym.x import name` of a source text."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "metagym":
            yield from ((str(node.module), alias.name) for alias in node.names)


def sources() -> Iterator[tuple[Path, str]]:
    """Yield what a reader is shown: the pages' Python blocks, and the examples."""
    for page in [*PAGES, ROOT / "README.md"]:
        yield from ((page, fence.text) for fence in fences(page) if fence.kind == "python")
    for path in sorted((ROOT / "examples").rglob("*.py")):
        yield path, path.read_text(encoding="utf-8")


def test_what_docs_and_examples_import_stands_in_the_reference() -> None:
    for path, source in sources():
        for module_name, name in imported(source):
            at_top = module_name == "metagym" and (name in metagym.__all__ or f"metagym.{name}" in MODULES)
            assert at_top or module_name in MODULES, (
                f"{path.name} imports {name} from {module_name}: add it to docs/api"
            )


def test_docs_and_examples_import_the_names_at_the_top_from_the_top() -> None:
    found = [
        f"{path.name}: from {module_name} import {name}"
        for path, source in sources()
        for module_name, name in imported(source)
        if module_name != "metagym" and name in metagym.__all__
    ]
    assert found == []
