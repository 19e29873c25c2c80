"""Writes the pack of rooms that generated ALFWorld games are made from: `python tools/alfworld_rooms.py`.

It needs the package alfworld (the extra `alfworld`). The same package gives the same bytes. Run it when metagym
moves to another release of alfworld; then raise `GENERATOR_VERSION`, because seeds give other games.
"""

from __future__ import annotations

import ast
import gzip
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

from metagym.envs.alfworld.families import FAMILIES
from metagym.envs.alfworld.generated.export import find_alfworld
from metagym.envs.alfworld.generated.rooms import PACK


def distill(package: Path) -> dict[str, Any]:
    """Return the pack's content, read from the files of the `alfworld` package."""
    constants = _variables_of(package / "gen" / "constants.py")
    goals = _variables_of(package / "gen" / "goal_library.py")
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
    holds = {
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
        "holds": holds,
        "abilities": abilities,
        "kinds": {family: sorted(constants["GOALS_VALID"][family]) for family in FAMILIES},
        "sentences": {family: goals["gdict"][family]["templates"] for family in FAMILIES},
        "help_text": ast.literal_eval(help_rule[1]).lstrip(),
    }


def _variables_of(path: Path) -> dict[str, Any]:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return vars(module)


if __name__ == "__main__":
    text = json.dumps(distill(find_alfworld()), separators=(",", ":"), sort_keys=True)
    PACK.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    print(f"{PACK.name}: {PACK.stat().st_size} bytes")
