"""Finds and lists ALFWorld's official games on the disk, with an index that makes the second listing fast."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from metagym.envs.alfworld.families import cluster_of, is_task_folder
from metagym.envs.alfworld.game import problem_with, read_game_file
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
    """Return the folder that holds `train`, `valid_seen` and `valid_unseen`; None if none is named.

    `data_dir`, or else the variable ALFWORLD_DATA, names it or its parent.

    Raises:
        ConfigError: the named folder does not exist or holds no games.
    """
    named = data_dir or os.environ.get(ENVIRONMENT_VARIABLE)
    if not named:
        return None
    root = Path(named).expanduser()
    for folder in (root / GAMES_FOLDER, root):
        if any((folder / source).is_dir() for source in SOURCES):
            return folder
    if data_dir is None and _is_side_effect_of_alfworld(root):
        return None
    origin = "data_dir" if data_dir else ENVIRONMENT_VARIABLE
    state = "is empty or half downloaded" if root.is_dir() else "does not exist"
    raise ConfigError(
        f"{origin} names {named!r}, which {state}: expected the folders {', '.join(SOURCES)} in "
        f"{root / GAMES_FOLDER}. Fetch the games with `alfworld-download`, correct the path, or use "
        "data='generated'."
    )


def _is_side_effect_of_alfworld(root: Path) -> bool:
    """Return whether the variable and the folder may come from `import alfworld`, and not from the user."""
    return root == Path("~/.cache/alfworld").expanduser() and (not root.is_dir() or not any(root.iterdir()))


def list_games(folder: Path, *, use_index: bool = True) -> Listing:
    """Return the games in `folder`.

    Each file is read once, and again if its size or time of change differs. An index keeps the result: beside the
    games, or in the system's folder for temporary files if the games' folder is read-only. A file that cannot be
    read is named in a warning; the other games are listed all the same.

    Raises:
        ConfigError: no game can be played.
    """
    found = dict(_scan(folder))
    known = _read_index(folder) if use_index else {}
    fresh = {name: entry for name, entry in found.items() if known.get(name, ())[:2] != entry}
    index = {name: known[name] for name in found if name not in fresh}
    index |= {name: (*entry, _inspect(folder / name / GAME_FILE)) for name, entry in fresh.items()}
    if use_index and (fresh or len(index) != len(known)):
        _write_index(folder, index)

    problems = {name: problem for name, (_, _, problem) in index.items() if problem}
    broken = {name: problem for name, problem in problems.items() if problem not in _EXPECTED_PROBLEMS}
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


# Stock ALFWorld leaves these out as well, without a message.
_EXPECTED_PROBLEMS = (
    problem_with({"pddl_domain": "", "grammar": "", "pddl_problem": "", "solvable": False}),
    problem_with({"pddl_domain": "", "grammar": "", "pddl_problem": ""}),
)

_Entry = tuple[int, int]
"""Size, and time of change in nanoseconds. If either differs, the file is read again."""
_Known = dict[str, tuple[int, int, str]]


def _scan(folder: Path) -> Iterator[tuple[str, _Entry]]:
    """Yield the games. Like stock ALFWorld, leave out movable receptacles and slices."""
    for source in SOURCES:
        for task in _subfolders(os.path.join(folder, source)):
            if "movable" in task.name or "Sliced" in task.name:
                continue
            for trial in _subfolders(task.path):
                try:
                    status = os.stat(os.path.join(trial.path, GAME_FILE))
                except OSError:
                    continue
                yield f"{source}/{task.name}/{trial.name}", (status.st_size, status.st_mtime_ns)


def _subfolders(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if entry.is_dir()]
    except FileNotFoundError:
        return []


def _inspect(path: Path) -> str:
    """Return why a game's file cannot be played; empty if it can."""
    if not is_task_folder(path.parent.parent.name):
        return f"the folder {path.parent.parent.name!r} names no known task: TYPE-OBJECT-None-RECEPTACLE-ROOM"
    try:
        return problem_with(json.loads(path.read_bytes()))
    except (OSError, ValueError) as error:
        return f"cannot be read ({error})"


def _index_files(folder: Path) -> tuple[Path, Path]:
    user = os.getuid() if hasattr(os, "getuid") else "user"
    name = f"metagym-{user}-alfworld-{digest(str(folder.resolve()))}.json"
    return folder / INDEX_FILE, Path(tempfile.gettempdir()) / name


def _read_index(folder: Path) -> _Known:
    for path in _index_files(folder):
        try:
            stored = json.loads(path.read_bytes())
            if stored["version"] == INDEX_VERSION:
                return {name: tuple(entry) for name, entry in stored["games"].items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            continue  # damaged, or of another version: the index is written again
    return {}


def _write_index(folder: Path, index: _Known) -> None:
    text = json.dumps({"version": INDEX_VERSION, "games": index}, separators=(",", ":"))
    for path in _index_files(folder):
        # Root may write anywhere, so the permission bits decide: nothing is written to a read-only folder.
        if not path.parent.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH):
            continue
        try:
            handle, unfinished = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        except OSError:
            continue
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(unfinished, path)
            return
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(unfinished)


def read_official_game(folder: Path, name: str) -> dict[str, Any]:
    """Return the content of the official game's file.

    Raises:
        UnknownNameError: there is no such game.
        GameFileError: the game cannot be read or played.
    """
    cluster_of(name)
    parts = name.split("/")
    if len(parts) != 3 or parts[0] not in SOURCES or ".." in parts or not (folder / name).is_dir():
        raise UnknownNameError(
            f"Unknown task id {name!r}: expected SOURCE/TASK/TRIAL, a folder in {folder}, with a source of "
            f"{', '.join(SOURCES)}."
        )
    return read_game_file(folder / name / GAME_FILE)
