"""Imports point one way (design, section 5): a module imports only from layers below its own."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.conftest import SRC

LAYERS = (
    ("_version", "types", "errors", "background", "student"),
    ("seeding", "spending", "spaces", "statistics", "notebook"),
    ("tasks", "models", "workers", "rendering", "ledger", "account"),
    ("actor", "reflectors", "adapter", "schedules"),
    ("away",),
    ("rollout", "specs"),
    ("config",),
    ("meta_episode",),
    ("env",),
    ("vector",),
    ("wrappers", "optimization", "runs"),
    ("experiment", "estimation", "optimizers"),
    ("evaluation",),
    ("arena", "report", "training", "verification", "watching"),
    ("envs",),
    ("testing", "bridges", "doctor"),
    ("cli", "__main__"),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
INNER = {"types", "tasks", "spaces", "errors", "seeding"}
"""What `envs/*/env.py` and their kin may see; `testing` is for tests and sees models and types."""


def imports_of(path: Path) -> set[str]:
    """Return the metagym modules that a file imports, as dotted names below `metagym`.

    What `_repr_html_` imports is left out: a notebook asks a record itself, and what draws it lies above the record.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    methods = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "_repr_html_"]
    drawing = {node for method in methods for node in ast.walk(method)}
    found: set[str] = set()
    for node in ast.walk(tree):
        if node in drawing:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "metagym":
            rest = node.module.split(".")[1:]
            found |= {".".join(rest)} if rest else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            found |= {".".join(name[1:]) for name in names if name[0] == "metagym" and name[1:]}
    return found


def modules() -> list[Path]:
    return sorted(path for path in SRC.rglob("*.py") if path != SRC / "__init__.py")


CORE = [path for path in modules() if "envs" not in path.parts]
ENVS = [path for path in modules() if "envs" in path.parts]


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(SRC)))
def test_a_core_module_imports_only_from_its_layer_or_below(path: Path) -> None:
    own = path.relative_to(SRC).parts[0].removesuffix(".py")
    assert own in LEVEL, f"{own} has no layer yet: give it one in LAYERS"
    names = imports_of(path)
    if own == "training":  # its learnable problem is posed on Gates
        names = {name for name in names if not name.startswith(("envs.gates", "envs.instructions"))}
    tops = {name.split(".")[0] for name in names} - {own, "MetaGymError"}
    too_high = {name for name in tops if LEVEL.get(name, 99) > LEVEL[own]}
    assert not too_high, f"{own} imports from above: {sorted(too_high)}"


def test_no_two_core_modules_import_each_other() -> None:
    graph: dict[str, set[str]] = {}
    for path in CORE:
        own = path.relative_to(SRC).parts[0].removesuffix(".py")
        graph.setdefault(own, set()).update({name.split(".")[0] for name in imports_of(path)} - {own})
    seen: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"a cycle: {' -> '.join((*trail, name))}"
        if name not in seen:
            for other in sorted(graph.get(name, ())):
                visit(other, (*trail, name))
            seen.add(name)

    for name in sorted(graph):
        visit(name, ())


@pytest.mark.parametrize("path", ENVS, ids=lambda path: str(path.relative_to(SRC)))
def test_an_environment_sees_the_nouns_and_its_meta_module_the_meta_environment(path: Path) -> None:
    package = ".".join(path.relative_to(SRC).parts[:-1])
    allowed = set(INNER)
    if path.name == "meta.py":
        allowed |= {"env", "vector", "actor", "reflectors", "specs"}
    seen = {name for name in imports_of(path) if not name.startswith((package, "envs.instructions"))}
    assert seen <= allowed, f"{path.name} may not import {sorted(seen - allowed)}"
