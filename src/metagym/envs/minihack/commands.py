"""The names of the actions and their keys. Menus and questions are in `questions.py`."""

from __future__ import annotations

import re
from collections.abc import Iterable

ESCAPE, ENTER, SPACE = 27, 13, ord(" ")

OFFSETS: dict[str, tuple[int, int]] = {
    "n": (-1, 0),
    "e": (0, 1),
    "s": (1, 0),
    "w": (0, -1),
    "ne": (-1, 1),
    "se": (1, 1),
    "sw": (1, -1),
    "nw": (-1, -1),
}
"""The change of row and column in each direction."""

DIRECTIONS = {name: ord(key) for name, key in zip(OFFSETS, "kljhunby", strict=True)}
"""Compass directions and NetHack's keys for them. The capital letter of a key runs."""

# In NetHack's notation: `M-a` is Meta and a, `^x` is Control and x.
_KEYS = """
  > go down         E engrave                m move      M-r rub           x swap weapons
  . wait          M-e enhance                M move far    g rush          T take off
M-a adjust          F fight                M-o offer       G rush far      A take off all
  a apply           f fire                   o open        s search        t throw
 ^x attributes    M-f force                  p pay         " see amulet  M-T tip
  C call            i inventory              , pick up     [ see armor   M-t turn undead
  Z cast            I inventory of a kind  M-p pray        $ see gold      X two weapons
M-c chat          M-i invoke                 P put on      = see rings   M-u untrap
  c close         M-j jump                   q quaff       + see spells    v version
M-d dip            ^d kick                   Q quiver      ( see tools     W wear
  d drop            : look                   r read        ^ see trap      w wield
  D drop several  M-l loot                   R remove      ) see weapon  M-w wipe
  e eat           M-m monster ability      M-R ride      M-s sit           z zap
"""


def _key_of(notation: str) -> int:
    if notation.startswith("M-"):
        return 0x80 | ord(notation[2])
    return 0x1F & ord(notation[1]) if len(notation) == 2 else ord(notation)


COMMANDS = {
    **{f"step {name}": key for name, key in DIRECTIONS.items()},
    **{f"run {name}": key - 32 for name, key in DIRECTIONS.items()},
    **{name: _key_of(key) for key, name in re.findall(r"(\S+) (\S+(?: \S+)*)", _KEYS)},
}
"""Every command's name and key."""

PREFIXES = frozenset(COMMANDS[name] for name in ("fight", "move", "move far", "rush", "rush far"))
"""Keys after which NetHack waits for a direction without showing a question."""

_NAMES = {key: name for name, key in COMMANDS.items()}


def commands_for(keys: Iterable[int]) -> dict[str, int]:
    """Return the commands for a family's keys, in NetHack's order.

    It leaves out the keys that only answer (Enter, Escape, blank), and the shell escape, which NLE does not support.
    """
    return {_NAMES[key]: key for key in keys if key in _NAMES}
