"""Finds and lists ALFWorld's official games on the disk, with an index that makes the second listing fast."""

from __future__ import annotations

import json
import logging
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from metagym.envs.alfworld.families import cluster_of
from metagym.envs.alfworld.game import UNMARKED, UNSOLVABLE, GameFileError, problem_with
from metagym.errors import ConfigError, UnknownNameError
from metagym.types import digest

logger = logging.getLogger(__name__)

SOURCES = ("train", "valid_seen", "valid_unseen")
GAMES_FOLDER = "json_2.1.1"
GAME_FILE = "game.tw-pddl"
INDEX_FILE = "metagym-index.json"
INDEX_VERSION = 1
ENVIRONMENT_VARIABLE = "ALFWORLD_DATA"


class Listing(NamedTuple):
    """The games in a folder."""

    playable: tuple[str, ...]
    """Sorted ids. An id is the path of the game's folder, relative to the games' folder, with `/`."""
    problems: dict[str, str]
    """Why each of the other games cannot be played."""
    digest: str
    """A digest of the ids and sizes of the playable games."""


def find_games_folder(data_dir: str | None = None) -> Path | None:
    """Return the folder that holds `train`, `valid_seen` and `valid_unseen`; None if no folder is named.

    `data_dir`, or else the variable ALFWORLD_DATA, names it or its parent.
    """
    named = data_dir or os.environ.get(ENVIRONMENT_VARIABLE)
    if not named:
        return None
    root = Path(named).expanduser()
    for folder in (root / GAMES_FOLDER, root):
        if any((folder / source).is_dir() for source in SOURCES):
            return folder
    # `import alfworld` sets the variable and makes the empty folder itself.
    is_default = data_dir is None and root == Path("~/.cache/alfworld").expanduser()
    if is_default and not (root.is_dir() and any(root.iterdir())):
        return None
    origin = "data_dir" if data_dir else ENVIRONMENT_VARIABLE
    state = "is empty or half downloaded" if root.is_dir() else "does not exist"
    raise ConfigError(
        f"{origin} names {named!r}, which {state}: expected the folders {', '.join(SOURCES)} in "
        f"{root / GAMES_FOLDER}. Fetch the games with `alfworld-download`, correct the path, or use "
        "data='generated'."
    )


def list_games(folder: Path) -> Listing:
    """Return the games in `folder`.

    Each file is read once, and again if its size or time of change differs. An index keeps the result: beside the
    games, or in the system's folder for temporary files if the games' folder is read-only. A file that cannot be
    read is named in a warning; the other games are listed all the same.
    """
    known, index = _read_index(folder), dict[str, _Entry]()
    for name, size, changed in _scan(folder):
        is_known = known.get(name, ())[:2] == (size, changed)
        index[name] = known[name] if is_known else (size, changed, _inspect(folder / name / GAME_FILE))
    if index != known:
        _write_index(folder, index)

    problems = {name: problem for name, (_, _, problem) in index.items() if problem}
    # Stock ALFWorld leaves out games that are not solvable as well, without a message.
    broken = {name: problem for name, problem in problems.items() if problem not in (UNMARKED, UNSOLVABLE)}
    if broken:
        shown = "; ".join(f"{name}: {problem}" for name, problem in sorted(broken.items())[:5])
        logger.warning("%d of %d games in %s cannot be played: %s", len(broken), len(index), folder, shown)
    playable = tuple(sorted(name for name in index if name not in problems))
    if not playable:
        reason = next(iter(problems.values()), f"there is no {GAME_FILE} in them")
        raise ConfigError(
            f"{folder} holds no game that can be played ({reason}). Fetch the games with `alfworld-download`, "
            "or use data='generated'."
        )
    return Listing(playable, problems, digest([[name, index[name][0]] for name in playable]))


_Entry = tuple[int, int, str]
"""Size, time of change in nanoseconds, and problem. If one of the first two differs, the file is read again."""


def _scan(folder: Path) -> Iterator[tuple[str, int, int]]:
    for source in SOURCES:
        for path in (folder / source).glob(f"*/*/{GAME_FILE}"):
            _, task, trial, _ = path.parts[-4:]
            # Like stock ALFWorld, leave out movable receptacles and slices.
            if "movable" not in task and "Sliced" not in task and path.is_file():
                status = path.stat()
                yield f"{source}/{task}/{trial}", status.st_size, status.st_mtime_ns


def _inspect(path: Path) -> str:
    # The reason why a game's file cannot be played; empty if it can.
    task = path.parent.parent.name
    try:
        cluster_of(task)
        return problem_with(json.loads(path.read_bytes()))
    except UnknownNameError:
        return f"the folder {task!r} names no known task: TYPE-OBJECT-None-RECEPTACLE-ROOM"
    except (OSError, ValueError, RecursionError) as error:
        return f"cannot be read ({error})"


def _index_files(folder: Path) -> tuple[Path, Path]:
    user = os.getuid() if hasattr(os, "getuid") else "user"
    name = f"metagym-{user}-alfworld-{digest(str(folder.resolve()))}.json"
    return folder / INDEX_FILE, Path(tempfile.gettempdir()) / name


def _read_index(folder: Path) -> dict[str, _Entry]:
    for path in _index_files(folder):
        try:
            stored = json.loads(path.read_bytes())
            if stored["version"] == INDEX_VERSION:
                return {name: tuple(entry) for name, entry in stored["games"].items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            continue  # damaged, or of another version: the index is written again
    return {}


def _write_index(folder: Path, index: dict[str, _Entry]) -> None:
    text = json.dumps({"version": INDEX_VERSION, "games": index}, separators=(",", ":"))
    for path in _index_files(folder):
        # Root may write anywhere, so the permission bits decide: nothing is written to a read-only folder.
        if not path.parent.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH):
            continue
        try:
            with tempfile.TemporaryDirectory(dir=path.parent, prefix=path.name) as unfinished:
                Path(unfinished, INDEX_FILE).write_text(text, encoding="utf-8")
                Path(unfinished, INDEX_FILE).replace(path)
            return
        except OSError:
            continue


def read_official_game(folder: Path, name: str) -> dict[str, Any]:
    """Return the content of the official game's file."""
    cluster_of(name)
    source, *rest = name.split("/")
    if source not in SOURCES or len(rest) != 2 or ".." in rest or not (folder / name).is_dir():
        raise UnknownNameError(
            f"Unknown task id {name!r}: expected SOURCE/TASK/TRIAL, a folder in {folder}, with a source of "
            f"{', '.join(SOURCES)}."
        )
    path = folder / name / GAME_FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise GameFileError(f"Expected a game at {path}, found no file. Download the games again.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise GameFileError(f"The game {path} cannot be read: {error}. Download it again, or remove it.") from error
    if problem := problem_with(data):
        raise GameFileError(f"The file {path} holds no playable game: {problem}. Download it again, or remove it.")
    return dict(data)
