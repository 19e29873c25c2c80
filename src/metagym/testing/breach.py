"""How the contract checks say what is wrong: expected, got, remedy."""

from __future__ import annotations

from metagym.errors import ContractError


def require(holds: bool, expected: str, *, got: object, remedy: str) -> None:
    """Raise where a promise does not hold.

    Raises:
        ContractError: `holds` is False; the message says what was expected, what came and how to mend it.
    """
    if not holds:
        raise breach(expected, got=got, remedy=remedy)


def breach(expected: str, *, got: object, remedy: str) -> ContractError:
    """Return the error that names a broken promise."""
    shown = got if isinstance(got, str) else repr(got)
    cut = shown if len(shown) <= 400 else f"{shown[:400]} ..."
    return ContractError(f"The environment breaks its contract: expected {expected}, got {cut}. {remedy}")


def named(error: BaseException) -> str:
    """Return an exception as the checks show it."""
    return f"{type(error).__name__}: {error}"
