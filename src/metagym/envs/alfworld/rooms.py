"""The rooms that games are generated in: what stands where, what can hold what. Read from the pack.

The pack is distilled from what the `alfworld` package ships: `python -m metagym.envs.alfworld.rooms`.
It holds no game and none of ALFWorld's files; `pack/NOTICE` names its origin and licence.
"""

from __future__ import annotations

import ast
import gzip
import importlib.resources
import importlib.util
import json
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from metagym.envs.alfworld.families import FAMILIES
from metagym.errors import MissingExtraError

PACK = "rooms.json.gz"


class Room(NamedTuple):
    """One of ALFRED's 120 rooms."""

    number: int
    kind: str
    """`Kitchen`, `LivingRoom`, `Bedroom` or `Bathroom`."""
    receptacles: dict[str, tuple[int, int, int, int]]
    """By id: where one stands before it, as x and z in quarter metres, quarter turns, and horizon in degrees."""
    objects: tuple[str, ...]
    """The types of objects that belong in the room."""


class Pack(NamedTuple):
    """All that games are generated from."""

    rooms: tuple[Room, ...]
    holds: dict[str, tuple[str, ...]]
    """Which types of objects each type of receptacle can hold."""
    abilities: dict[str, tuple[str, ...]]
    """Which types can be cleaned, heated, cooled, sliced (`cleanable`, ...), and which are `openable`."""
    kinds: dict[str, tuple[str, ...]]
    """The kinds of rooms for each family."""
    sentences: dict[str, tuple[str, ...]]
    """How each family's task is worded, with `{obj}`, `{recep}`, `{toggle}`."""
    help_text: str


@cache
def read_pack() -> Pack:
    """Return the pack that ships with the catalogue."""
    file = importlib.resources.files("metagym.envs.alfworld") / "pack" / PACK
    stored = json.loads(gzip.decompress(file.read_bytes()))
    rooms = tuple(
        Room(
            room["number"],
            room["kind"],
            {k: tuple(v) for k, v in room["receptacles"].items()},
            tuple(room["objects"]),
        )
        for room in stored["rooms"]
    )

    def table(name: str) -> dict[str, tuple[str, ...]]:
        return {key: tuple(values) for key, values in stored[name].items()}

    return Pack(
        rooms, table("holds"), table("abilities"), table("kinds"), table("sentences"), help_text=stored["help_text"]
    )


def find_alfworld() -> Path:
    """Return the folder of the installed `alfworld` package, which is not imported: that would make a folder.

    Raises:
        MissingExtraError: it is not installed.
    """
    spec = importlib.util.find_spec("alfworld")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            "This needs the files of the package 'alfworld', which is not installed: pip install 'metagym[alfworld]'."
        )
    return Path(next(iter(spec.submodule_search_locations)))


def distill(package: Path) -> dict[str, Any]:
    """Return the pack's content, from the files of the `alfworld` package."""
    constants = _load(package / "gen" / "constants.py")
    goals = _load(package / "gen" / "goal_library.py")
    rooms = []
    for kind, numbers in constants["SCENE_TYPE"].items():
        for number in numbers:
            layout = package / "gen" / "layouts" / f"FloorPlan{number}"
            poses = json.loads(Path(f"{layout}-openable.json").read_text(encoding="utf-8"))
            objects = json.loads(Path(f"{layout}-objects.json").read_text(encoding="utf-8"))
            receptacles = {
                name: [round(x * 4), round(z * 4), round(turn) // 90, round(horizon)]
                for name, (x, z, turn, horizon) in sorted(poses.items())
            }
            rooms.append({"number": number, "kind": kind, "receptacles": receptacles, "objects": sorted(set(objects))})
    whole = {
        receptacle: sorted(kind for kind in kinds if not kind.endswith("Sliced"))
        for receptacle, kinds in sorted(constants["VAL_RECEPTACLE_OBJECTS"].items())
        if receptacle not in constants["MOVABLE_RECEPTACLES_SET"]
    }
    abilities = {
        name.lower(): sorted(kind for kind in kinds if not kind.endswith("Sliced"))
        for name, kinds in constants["VAL_ACTION_OBJECTS"].items()
    }
    abilities["openable"] = sorted(constants["OPENABLE_CLASS_SET"])
    grammar = (package / "data" / "alfred.twl2").read_text(encoding="utf-8")
    help_rule = re.search(r'"help.feedback".*?"rhs":\s*("(?:[^"\\]|\\.)*")', grammar, re.DOTALL)
    assert help_rule is not None
    return {
        "rooms": rooms,
        "holds": whole,
        "abilities": abilities,
        "kinds": {family: sorted(constants["GOALS_VALID"][family]) for family in FAMILIES},
        "sentences": {family: goals["gdict"][family]["templates"] for family in FAMILIES},
        "help_text": ast.literal_eval(help_rule[1]).lstrip(),
    }


def _load(path: Path) -> dict[str, Any]:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return vars(module)


def main() -> int:
    """Write the pack anew, the same bytes from the same package."""
    target = Path(__file__).parent / "pack" / PACK
    text = json.dumps(distill(find_alfworld()), separators=(",", ":"), sort_keys=True)
    target.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    print(f"{target.name}: {target.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
