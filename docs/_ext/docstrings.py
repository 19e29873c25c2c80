"""The reference: docstrings, which are Markdown with Google's sections, made fit for Sphinx; one place for a name."""

import importlib
import re
import sys
from typing import Any, get_type_hints

from modules import documented
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from sphinx.ext.autodoc.mock import mock
from sphinx.ext.napoleon import Config, GoogleDocstring
from sphinx.util import logging

import metagym

logger = logging.getLogger(__name__)


def _modules() -> list[Any]:
    """Return the modules that the reference documents."""
    with mock(["peft", "tokenizers", "torch", "transformers"]):  # too large to install for their signatures
        return [importlib.import_module(name) for name in documented()]


def _public_places(modules: list[Any]) -> dict[str, str]:
    """Return the place in the reference of each name that is also known by another: {other name: place}."""
    places = {}
    for module in modules:
        for name in getattr(module, "__all__", ()):
            home = getattr(getattr(module, name), "__module__", module.__name__)
            places.setdefault(f"{home}.{name}", f"{module.__name__}.{name}")
    for name in metagym.__all__:
        home = f"{getattr(getattr(metagym, name), '__module__', '')}.{name}"
        places[f"metagym.{name}"] = places.get(home, home)
    return places


def _resolve(app: Any, env: Any, node: Any, contnode: Any) -> Any:
    """Lead every name of an object to the one place of its documentation."""
    place = app.metagym_places.get(node.get("reftarget", ""))
    if node.get("refdomain") != "py" or place is None:
        return None
    domain = env.get_domain("py")
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", place, node, contnode)


def _say_plain_types(modules: list[Any]) -> None:
    """Take the validators out of the records' annotations: a reader wants `str`."""
    for module in modules:
        for item in vars(module).values():
            if isinstance(item, type) and issubclass(item, BaseModel):
                item.__annotations__ = {
                    name: hint for name, hint in get_type_hints(item).items() if name in item.__annotations__
                }


def _no_long_signature(app: Any, what: str, name: str, obj: Any, *rest: Any) -> tuple[str, None] | None:
    """Leave out the signature of a record, whose fields are listed below it, and of a protocol."""
    is_listed = isinstance(obj, type) and (issubclass(obj, BaseModel) or getattr(obj, "_is_protocol", False))
    return ("", None) if is_listed else None


def _default(name: str) -> str:
    """Return the default of a record's field as code, or nothing."""
    module, _, path = name.rpartition(".")[0].rpartition(".")
    owner = getattr(sys.modules.get(module), path, None)
    if not (isinstance(owner, type) and issubclass(owner, BaseModel)):
        return ""
    field = owner.model_fields.get(name.rpartition(".")[2])
    if field is None or field.is_required():
        return ""
    value = field.default if field.default is not PydanticUndefined else field.default_factory()
    return f"Default: ``{value!r}``." if len(repr(value)) < 80 else ""


_CODE = re.compile(r"(?<![`:\w])`([^`]+)`(?!`)(\w?)")
_COLUMNS = re.compile(r"\S {3,}\S|^[├└│|]", re.MULTILINE)


def _paragraph(text: str) -> str:
    """Turn a paragraph of Markdown into reStructuredText: code between backticks, and tables set with spaces."""
    if text.lstrip().startswith(">>>"):
        return text
    if _COLUMNS.search(text):
        margin = " " * (len(text) - len(text.lstrip()))
        return f"{margin}.. code-block:: text\n\n" + "\n".join("    " + line for line in text.splitlines())
    return _CODE.sub(lambda found: f"``{found[1]}``" + (rf"\ {found[2]}" if found[2] else ""), text)


def _as_restructured_text(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Turn a docstring, which is Markdown with Google's sections, into reStructuredText."""
    text = "\n\n".join(map(_paragraph, re.split(r"\n[ \t]*\n", "\n".join(lines))))
    if what in ("attribute", "data", "property"):  # no sections there; napoleon would take a colon for a type
        lines[:] = f"{text.rstrip()} {_default(name)}".strip().split("\n")
    else:
        lines[:] = GoogleDocstring(text, Config(napoleon_use_rtype=False), app, what, name, obj, options).lines()


def _check(app: Any, env: Any) -> None:
    """Warn of a public name that no page documents."""
    objects = env.get_domain("py").objects
    for name in documented():
        for own in getattr(sys.modules[name], "__all__", ()):
            if f"{name}.{own}" not in objects:
                logger.warning("the reference lacks %s.%s", name, own)
    for own in metagym.__all__:
        if own != "__version__" and app.metagym_places[f"metagym.{own}"] not in objects:
            logger.warning("the reference lacks metagym.%s", own)


def setup(app: Any) -> None:
    """Connect the hooks."""
    app.connect("env-check-consistency", _check)
    modules = _modules()
    app.metagym_places = _public_places(modules)
    _say_plain_types(modules)
    app.connect("autodoc-process-docstring", _as_restructured_text)
    app.connect("autodoc-process-signature", _no_long_signature)
    app.connect("missing-reference", _resolve)
