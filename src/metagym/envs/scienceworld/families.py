"""ScienceWorld's kinds of tasks by their topics, and the variations in each of the package's folds."""

from __future__ import annotations

from typing import Final

_SIZES: Final = {
    "matter": {
        "boil": (14, 7, 9),
        "melt": (14, 7, 9),
        "freeze": (14, 7, 9),
        "change-the-state-of-matter-of": (14, 7, 9),
    },
    "measurement": {
        "use-thermometer": (270, 135, 135),
        "measure-melting-point-known-substance": (218, 109, 109),
        "measure-melting-point-unknown-substance": (150, 75, 75),
    },
    "electricity": {
        "power-component": (10, 5, 5),
        "power-component-renewable-vs-nonrenewable-energy": (10, 5, 5),
        "test-conductivity": (450, 225, 225),
        "test-conductivity-of-unknown-substances": (300, 150, 150),
    },
    "classification": {
        "find-living-thing": (150, 75, 75),
        "find-non-living-thing": (150, 75, 75),
        "find-plant": (150, 75, 75),
        "find-animal": (150, 75, 75),
    },
    "chemistry": {
        "chemistry-mix": (16, 8, 8),
        "chemistry-mix-paint-secondary-color": (18, 9, 9),
        "chemistry-mix-paint-tertiary-color": (18, 9, 9),
    },
    "biology": {
        "grow-plant": (62, 31, 33),
        "grow-fruit": (62, 31, 33),
        "lifespan-longest-lived": (62, 31, 32),
        "lifespan-shortest-lived": (62, 31, 32),
        "lifespan-longest-lived-then-shortest-lived": (62, 31, 32),
        "identify-life-stages-1": (6, 3, 5),
        "identify-life-stages-2": (4, 2, 4),
        "mendelian-genetics-known-plant": (60, 30, 30),
        "mendelian-genetics-unknown-plant": (240, 120, 120),
    },
    "forces": {
        "inclined-plane-determine-angle": (84, 42, 42),
        "inclined-plane-friction-named-surfaces": (692, 346, 348),
        "inclined-plane-friction-unnamed-surfaces": (80, 40, 42),
    },
}
"""The number of variations for training, validation and testing; they are numbered in this order."""


def _ranges(train: int, validation: int, test: int) -> dict[str, range]:
    last = train + validation
    return {"train": range(train), "validation": range(train, last), "test": range(last, last + test)}


TOPICS: Final = {topic: tuple(families) for topic, families in _SIZES.items()}
"""The families of each topic."""
FOLDS: Final = {family: _ranges(*sizes) for families in _SIZES.values() for family, sizes in families.items()}
"""The variations of each role, by family."""
LONG: Final = (
    "mendelian-genetics-known-plant",
    "mendelian-genetics-unknown-plant",
    "inclined-plane-friction-unnamed-surfaces",
)
"""Families with gold paths of about 150 commands and more; Java may take half a minute to find one.

They are not among the default families.
"""
DEFAULT_FAMILIES: Final = tuple(family for family in FOLDS if family not in LONG)
