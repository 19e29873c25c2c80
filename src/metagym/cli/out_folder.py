"""The folder that `--out` names: a folder that holds records of another kind is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from metagym.errors import ConfigError

Kind = Literal["run", "evaluation", "arena", "collection", "gate", "runs"]
_WORDS: Final[dict[Kind, str]] = {
    "run": "a run",
    "evaluation": "an evaluation",
    "arena": "an arena",
    "collection": "collected experience",
    "gate": "a gate",
    "runs": "other runs",
}


def check_out(out: Path, kind: Kind) -> Path:
    """Return the folder; raise ConfigError if it holds records of another kind."""
    held = _held(out)
    # Streams, and campaigns of live objects, have only the run folders of their arms.
    is_unknown = held == "runs" and kind in ("evaluation", "arena")
    if held not in (None, kind) and not is_unknown:
        assert held is not None
        raise ConfigError(f"{out} holds {_WORDS[held]}, and {_WORDS[kind]} would mix with it: name another --out.")
    return out


def _held(path: Path) -> Kind | None:
    from metagym.evaluation.campaign_folder import CAMPAIGN
    from metagym.runs import MANIFEST
    from metagym.runs.folder import REPLIES
    from metagym.runs.watching.watcher import run_folders

    if (path / MANIFEST).exists():
        return "run"
    if (path / CAMPAIGN).exists():
        return "evaluation"
    if any(path.glob("*/arena.json")):
        return "arena"
    if any(path.glob(f"loops/*/{MANIFEST}")):
        return "collection"
    if (path / REPLIES).exists():
        return "gate"
    return "runs" if any(run_folders(path)) else None
