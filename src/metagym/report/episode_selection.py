"""Choose which episodes a report shows if there are too many: whole meta-episodes, the same ones in every arm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from metagym.runs import Key, Role, RunFolder
from metagym.types import digest


class Phase(NamedTuple):
    """The purpose of an episode."""

    name: str
    """`learning`, or the role of the measurement: `validation`, `test chosen`, ..."""
    number: int
    """The meta-step, or the number of the prompt."""
    family: str = ""
    """The family that was evaluated; empty in a single meta-episode."""
    seed: int | None = None
    """The meta-episode of an evaluation, which is one replicate."""


_INDEXED = {
    role.value for role in (Role.VALIDATION, Role.REPLAY, Role.KINDS_BEFORE, Role.KINDS_AFTER, Role.STREAM_TEST)
}
_SINGLE = {role.value for role in (Role.TEST_CHOSEN, Role.TEST_FIRST, Role.TEST_LAST)}


def phase_of(key: Key, arm: str) -> Phase:
    """Return the purpose of the episode named `key` in the evaluation of `arm` (empty for a single run)."""
    meta_step, name, _, _ = key
    if not arm or not name.startswith(f"{arm}/"):
        return Phase("learning", meta_step)
    *place, last = name.removeprefix(f"{arm}/").split("/")
    stem, _, number = last.rpartition("-")
    if stem in _INDEXED and number.isdigit():
        role, index = stem, int(number)
    elif last in _SINGLE:
        role, index = last, 0
    else:
        role, index, place = "learning", meta_step, [*place, last]
    seed = int(place[-1]) if len(place) > 1 and place[-1].isdigit() else None
    return Phase(role, index, "/".join(place[:-1]), seed)


def by_importance(run: RunFolder) -> list[Key]:
    """Order the episodes: seed by seed, first those of learning, then the tests, then a fixed sample of the rest."""
    about = run.manifest.evaluation
    arm = "" if about is None else str(about.get("arm", ""))

    def rank(key: Key) -> tuple[int, int, int, str]:
        phase = phase_of(key, arm)
        # The digest leaves out the arm, so that a comparison finds the same tasks in each.
        sample = digest([phase.name, phase.number, phase.family, key[2], key[3]], length=8)
        order = 0 if phase.name == "learning" else 1 if phase.name in _SINGLE else 2
        return (phase.seed or 0, order, phase.number if about is None else 0, sample)

    return sorted(run.keys, key=rank)


def share_out(wanted: Sequence[int], limit: int) -> list[int]:
    """Divide `limit` evenly; a part that one does not need goes to the others: 20 for [2, 50, 50] gives [2, 9, 9]."""
    shares = [0] * len(wanted)
    left = limit
    for position, index in enumerate(sorted(range(len(wanted)), key=lambda index: wanted[index])):
        shares[index] = min(wanted[index], left // (len(wanted) - position))
        left -= shares[index]
    return shares
