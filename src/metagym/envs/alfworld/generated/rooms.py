"""The rooms in which games are generated: their receptacles, and what each receptacle can hold.

They are read from `pack/`, which `tools/alfworld_rooms.py` makes from the files of the `alfworld` package. The pack
holds no game and none of ALFWorld's files; `pack/NOTICE` names its origin and licence.
"""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

PACK = Path(__file__).parent / "pack" / "rooms.json.gz"


class Room(NamedTuple):
    """One of ALFRED's 120 rooms."""

    number: int
    kind: str
    """`Kitchen`, `LivingRoom`, `Bedroom` or `Bathroom`."""
    receptacles: dict[str, tuple[int, int, int, int]]
    """By id, the pose in front of it: x and z in quarter metres, quarter turns, and horizon in degrees."""
    objects: tuple[str, ...]
    """The types of objects that belong in the room."""


class Pack(NamedTuple):
    """Everything that games are generated from."""

    rooms: tuple[Room, ...]
    holds: dict[str, tuple[str, ...]]
    """Which types of objects each type of receptacle can hold."""
    abilities: dict[str, tuple[str, ...]]
    """Which types can be cleaned, heated, cooled, sliced (`cleanable`, ...), and which are `openable`."""
    kinds: dict[str, tuple[str, ...]]
    """The kinds of rooms for each family."""
    sentences: dict[str, tuple[str, ...]]
    """Templates of each family's task sentence, with `{obj}`, `{recep}`, `{toggle}`."""
    help_text: str


@cache
def read_pack() -> Pack:
    """Return the pack that ships with metagym."""
    stored = json.loads(gzip.decompress(PACK.read_bytes()))
    rooms = tuple(
        Room(
            room["number"],
            room["kind"],
            {name: tuple(pose) for name, pose in room["receptacles"].items()},
            tuple(room["objects"]),
        )
        for room in stored["rooms"]
    )

    def table(name: str) -> dict[str, tuple[str, ...]]:
        return {key: tuple(values) for key, values in stored[name].items()}

    return Pack(
        rooms, table("holds"), table("abilities"), table("kinds"), table("sentences"), help_text=stored["help_text"]
    )
