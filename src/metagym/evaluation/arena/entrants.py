"""The methods of an arena: from names to optimizers around reflectors."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from metagym.errors import ConfigError
from metagym.imports import missing_extra
from metagym.optimizers import BestOfN, Gepa, InTurn, Optimizer
from metagym.reflectors import Reflector, make_reflector, method_names, takes_model

BASELINE: Final = "fixed"
"""The method that changes nothing; the others are paired with it."""
GEPA: Final = "gepa"
_AROUND = re.compile(r"best_of_n\((?P<inner>[^()]+)\)")


class Entrant(NamedTuple):
    """One method of the arena: an optimizer around a reflector, with a name."""

    name: str
    reflector: Reflector
    optimizer: Optimizer


def make_entrants(
    names: Sequence[str],
    *,
    model: Mapping[str, Any] | None = None,
    demo: Callable[[], Reflector] | None = None,
    num_steps: int = 10,
) -> list[Entrant]:
    """Return the methods with these names. If `fixed` is missing, it is put first: the others are paired with it.

    A name is that of a method (`ict`), `best_of_n(NAME)` around one, `gepa`, `demo`, or the import path of a reflector;
    `all` means every method that is installed. `model` is the spec of the chat model that methods ask.

    Raises:
        ConfigError: a name is unknown, is given twice, or needs a model and `model` is missing.
        MissingExtraError: `gepa` is named and not installed.
    """
    expanded = [name for given in names for name in (all_names() if given == "all" else (given,))]
    if BASELINE not in expanded:
        expanded = [BASELINE, *expanded]
    if len(set(expanded)) < len(expanded):
        twice = sorted({name for name in expanded if expanded.count(name) > 1})
        raise ConfigError(f"Expected each method once, got {', '.join(map(repr, twice))} twice. Leave one out.")
    return [_entrant(name, model, demo, num_steps) for name in expanded]


def all_names() -> tuple[str, ...]:
    """Return the names of every method that is installed, the optimizers last."""
    return (*method_names(), "best_of_n(ict)", *((GEPA,) if _has_gepa() else ()))


def _entrant(
    name: str, model: Mapping[str, Any] | None, demo: Callable[[], Reflector] | None, num_steps: int
) -> Entrant:
    around = _AROUND.fullmatch(name)
    if around is not None:
        return Entrant(name, _reflector(around["inner"], model, demo), BestOfN(num_steps=num_steps))
    if name == GEPA:
        if not _has_gepa():
            raise missing_extra("gepa", "gepa")
        return Entrant(name, _reflector("ict", model, demo), Gepa())
    return Entrant(name, _reflector(name, model, demo), InTurn(num_steps))


def _reflector(name: str, model: Mapping[str, Any] | None, demo: Callable[[], Reflector] | None) -> Reflector:
    wants_model = name in method_names() and takes_model(name)
    return make_reflector({"method": name, **(model or {})} if wants_model else name, demo=demo)


def _has_gepa() -> bool:
    return importlib.util.find_spec("gepa") is not None
