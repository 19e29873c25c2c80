"""Choose which episodes a report shows if there are too many: whole meta-episodes, the same ones in every arm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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


_INDEXED = {role.value: role for role in (Role.VALIDATION, Role.REPLAY, Role.STREAM_TEST)}
_SINGLE = {role.value for role in (Role.TEST_CHOSEN, Role.TEST_FIRST, Role.TEST_LAST)}
_ORDER = {"learning": 0, **dict.fromkeys(sorted(_SINGLE), 1)}


def phase_of(key: Key, arm: str) -> Phase:
    """Return the purpose of the episode named `key` in the evaluation of `arm` (empty for a single run).

    >>> phase_of((3, "demo/law-0007/2/validation-4", "law-0007/9", 0), "demo")
    Phase(name='validation', number=4, family='law-0007', seed=2)
    """
    meta_step, name, _, _ = key
    if not arm or not name.startswith(f"{arm}/"):
        return Phase("learning", meta_step)
    parts = name.removeprefix(f"{arm}/").split("/")
    role, index = "learning", meta_step
    for known in _INDEXED:
        stem, _, number = parts[-1].rpartition("-")
        if stem == known and number.isdigit():
            role, index = known, int(number)
    if parts[-1] in _SINGLE:
        role, index = parts[-1], 0
    parts = parts if role == "learning" else parts[:-1]
    seed = int(parts[-1]) if len(parts) > 1 and parts[-1].isdigit() else None
    return Phase(role, index, "/".join(parts[:-1]), seed)


@dataclass(frozen=True)
class Choice:
    """The episodes of a run, in the order in which a report includes them."""

    order: tuple[Key, ...]

    @property
    def num_episodes(self) -> int:
        """The number of episodes."""
        return len(self.order)

    def of(self, limit: int) -> Callable[[Key], bool]:
        """Return the test whether an episode is among the first `limit`."""
        chosen = set(self.order[:limit])
        return chosen.__contains__


def choose(run: RunFolder) -> Choice:
    """Order the episodes: seed by seed, first those of learning, then the tests, then a fixed sample of the rest."""
    about = run.manifest.evaluation
    arm = "" if about is None else str(about.get("arm", ""))

    def rank(key: Key) -> tuple[int, int, int, str]:
        phase = phase_of(key, arm)
        # The digest leaves out the arm, so that a comparison finds the same tasks in each.
        sample = digest([phase.name, phase.number, phase.family, key[2], key[3]], length=8)
        order = _ORDER.get(phase.name, 2)
        return (phase.seed or 0, order, phase.number if about is None else 0, sample)

    return Choice(tuple(sorted(run.keys, key=rank)))


def share_out(wanted: Sequence[int], limit: int) -> list[int]:
    """Divide `limit` evenly; what one does not need goes to the others.

    >>> share_out([2, 50, 50], 20)
    [2, 9, 9]
    """
    shares = [0] * len(wanted)
    left = limit
    for position, index in enumerate(sorted(range(len(wanted)), key=lambda index: wanted[index])):
        shares[index] = min(wanted[index], left // (len(wanted) - position))
        left -= shares[index]
    return shares
