"""Tasks that are made from a family and a seed: their ids, `family/seed`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from metagym.errors import ConfigError, UnknownNameError

NUM_SEEDS: Final = 2**31
_SEED = re.compile(r"0|[1-9][0-9]{0,17}")  # only one spelling of each number: a task has one id


def read_seeded_id(task_id: object, *, num_seeds: int = NUM_SEEDS) -> tuple[str, int]:
    """Return the family and the seed in a task id.

    Raises:
        UnknownNameError: it does not end with a seed below `num_seeds`.
    """
    family, _, seed = str(task_id).rpartition("/")
    if not family or not _SEED.fullmatch(seed) or int(seed) >= num_seeds:
        raise UnknownNameError(
            f"Unknown task id {task_id!r}: expected {family or 'FAMILY'}/SEED with a seed from 0 to {num_seeds - 1}."
        )
    return family, int(seed)


def named_families(
    families: Sequence[str], known: Iterable[str], groups: Mapping[str, Sequence[str]]
) -> tuple[str, ...]:
    """Return the families that are named by themselves or by their groups, each once, in order."""
    if isinstance(families, str):
        raise ConfigError(f"families must be a list of names, got the text {families!r}. Write [{families!r}].")
    if not families:
        raise ConfigError(f"families must be a non-empty list of names, got {families!r}.")
    known = tuple(known)
    members = {name: (name,) for name in known} | dict(groups)
    for name in families:
        if name not in members:
            raise UnknownNameError.of("family", name, (*groups, *known))
    return tuple(dict.fromkeys(member for name in families for member in members[name]))


def asked_task(options: Mapping[str, Any] | None, rng: np.random.Generator, families: Sequence[str]) -> tuple[str, int]:
    """Return the family and the seed of `options["task_id"]`; without an id, draw one of `families` and a seed."""
    task_id = (options or {}).get("task_id")
    if task_id is not None:
        return read_seeded_id(task_id)
    family = families[int(rng.integers(len(families)))]
    return family, int(rng.integers(NUM_SEEDS))
