"""Which modules the reference documents. `<!-- modules: a, b -->` in a page stands for packages with all in them."""

import importlib
import importlib.util
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

API = Path(__file__).parents[1] / "api"
_MARK = re.compile(r"<!-- modules: (.+) -->")


def documented() -> list[str]:
    """Return the modules of all pages of the reference."""
    pages = "\n".join(expand(page.read_text(encoding="utf-8")) for page in sorted(API.glob("*.md")))
    return re.findall(r"automodule:: (\S+)", pages)


def expand(text: str) -> str:
    """Return a page with a section for each module that a mark stands for."""
    return _MARK.sub(
        lambda found: "\n".join(_section(own) for name in found[1].split(", ") for own in _all(name)), text
    )


def _all(name: str) -> Iterator[str]:
    """Yield a module and the public ones in it; nothing where there is none of that name."""
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


def _fill(app: Any, docname: str, source: list[str]) -> None:
    source[0] = expand(source[0])


def setup(app: Any) -> None:
    """Connect the hook."""
    app.connect("source-read", _fill)
