"""Which modules the reference documents. `<!-- modules: a, b -->` in a page means packages with all in them."""

import ast
import importlib
import importlib.util
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

API = Path(__file__).parents[1] / "api"
_MARK = re.compile(r"<!-- modules: (.+) -->")
_AUTOMODULE = re.compile(r"^\.\. automodule:: (\S+)\n(?:   .*\n)*", re.MULTILINE)


def documented() -> list[str]:
    """Return the modules of all pages of the reference."""
    pages = "\n".join(_all_sections(page.read_text(encoding="utf-8")) for page in sorted(API.glob("*.md")))
    return _AUTOMODULE.findall(pages)


def expand(text: str) -> str:
    """Return a page with a section for each module that a mark names, and with the constants of packages."""
    return _AUTOMODULE.sub(lambda found: found[0] + "".join(_constants(found[1])), _all_sections(text))


def _all_sections(text: str) -> str:
    return _MARK.sub(
        lambda found: "\n".join(_section(own) for name in found[1].split(", ") for own in _all(name)), text
    )


def _all(name: str) -> Iterator[str]:
    """Yield a module and the public ones in it; nothing if no module has that name."""
    spec = importlib.util.find_spec(name)
    if spec is not None:
        yield name
        for found in pkgutil.iter_modules(spec.submodule_search_locations or ()):
            if not found.name.startswith("_"):
                yield from _all(f"{name}.{found.name}")


def _section(name: str) -> str:
    package = importlib.import_module(name.rpartition(".")[0])
    shown = getattr(package, "__all__", ()) if package.__name__ != "metagym" else ()  # by the package; once is enough
    left_out = ", ".join(["model_config", "model_post_init", *shown])
    return f"## {name}\n\n```{{eval-rst}}\n.. automodule:: {name}\n   :exclude-members: {left_out}\n```\n"


def _constants(name: str) -> Iterator[str]:
    """Yield an entry for each constant that a package imports from its modules: autodoc finds only its own."""
    for node in _tree(name).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("metagym."):
            described = _described_constants(str(node.module))
            for alias in node.names:
                if alias.name in described:
                    text = re.sub(r"`+", "``", " ".join(described[alias.name].split()))
                    yield f"\n.. py:data:: {alias.name}\n   :module: {name}\n\n   {text}\n"


def _described_constants(name: str) -> dict[str, str]:
    """Return the constants of a module, each with the string under it, or an empty text."""
    found = {}
    body = _tree(name).body
    for node, following in zip(body, [*body[1:], ast.Pass()], strict=True):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        is_text = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
        for target in targets:
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(target, ast.Name) and target.id[0].isupper():
                found[target.id] = str(following.value.value) if is_text else ""
    return found


def _tree(name: str) -> ast.Module:
    spec = importlib.util.find_spec(name)
    assert spec, name
    assert spec.origin, name
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def _fill(app: Any, docname: str, source: list[str]) -> None:
    source[0] = expand(source[0])


def setup(app: Any) -> None:
    """Connect the hook."""
    app.connect("source-read", _fill)
