"""How the contract checks report a broken promise: expected, got, remedy."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from metagym.errors import ContractError


def expect(holds: bool, expected: str, *, got: object, remedy: str) -> None:
    """Raise if a promise does not hold.

    Raises:
        ContractError: `holds` is False; the message names what was expected, what came, and the remedy.
    """
    if not holds:
        raise _report(expected, got, remedy)


@contextlib.contextmanager
def expecting(expected: str, *, remedy: str, errors: type[Exception] = Exception) -> Iterator[None]:
    """Report an error that the body raises as a broken promise.

    Raises:
        ContractError: the body raised one of `errors`.
    """
    try:
        yield
    except errors as error:
        raise _report(expected, f"{type(error).__name__}: {error}", remedy) from error


def _report(expected: str, got: object, remedy: str) -> ContractError:
    shown = got if isinstance(got, str) else repr(got)
    cut = shown if len(shown) <= 400 else f"{shown[:400]} ..."
    return ContractError(f"The environment breaks its contract: expected {expected}, got {cut}. {remedy}")
