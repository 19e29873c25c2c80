"""The standings on the disk: JSON for programs, Markdown and CSV for people, and a figure where matplotlib is."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from metagym.errors import MissingExtraError, RunFolderError
from metagym.evaluation.arena.standings import Standings
from metagym.evaluation.arena.tables import budget_of, effort_cells, score_cells, title_of
from metagym.files import write_whole
from metagym.statistics import Estimate

NAME = "arena"


def write_standings(standings: Standings, folder: str | Path) -> list[Path]:
    """Write `arena.json`, `arena.md`, `arena.csv` and, where matplotlib is installed, `arena.png`; return them.

    Raises:
        RunFolderError: one of them cannot be written.
    """
    try:
        return _write(standings, Path(folder))
    except OSError as error:
        raise RunFolderError(
            f"Expected a place for the standings that can be written at {folder}: {error}. The arms are kept there; "
            "make room, and give the same command again."
        ) from error


def _write(standings: Standings, place: Path) -> list[Path]:
    place.mkdir(parents=True, exist_ok=True)
    texts = {
        "json": standings.model_dump_json(indent=2) + "\n",
        "md": to_markdown(standings),
        "csv": to_csv(standings),
    }
    written = []
    for kind, text in texts.items():
        path = place / f"{NAME}.{kind}"
        write_whole(path, text)
        written.append(path)
    figure = place / f"{NAME}.png"
    try:
        from metagym.evaluation.arena.plots import plot_curves
        from metagym.evaluation.plots import write_figure

        write_figure(plot_curves(standings), figure)
    except MissingExtraError:
        return written
    return [*written, figure]


def read_standings(folder: str | Path) -> Standings:
    """Return the standings that an arena wrote to this folder."""
    return Standings.model_validate_json((Path(folder) / f"{NAME}.json").read_text(encoding="utf-8"))


def to_markdown(standings: Standings) -> str:
    """Return the standings as a Markdown table, with what has to be known to read it below."""
    head = ["arm", "test", "gain over sp_0 [95 %]", f"minus {standings.baseline} [95 %]", "Holm's p"]
    head += ["episodes", "calls", "tokens", "money", "meta-steps", "stopped early"]
    rows = [(*score_cells(row), *effort_cells(row)) for row in standings.rows]
    lines = [f"# {title_of(standings)}", "", _line(head), _line(["---"] * len(head)), *map(_line, rows), ""]
    notes = [f"The learning budget of each meta-episode: {budget_of(standings)}.", *standings.notes]
    return "\n".join([*lines, *(f"- {note}" for note in notes), ""])


def to_csv(standings: Standings) -> str:
    """Return the standings as CSV, one row an arm, numbers in full."""
    told = io.StringIO()
    writer = csv.writer(told, lineterminator="\n")
    estimates = ("test", "gain", f"minus_{standings.baseline}")
    ends = [f"{name}{end}" for name in estimates for end in ("", "_low", "_high")]
    taken = ("episodes", "calls", "tokens", "cost", "meta_steps", "num_stopped", "num_meta_episodes")
    writer.writerow(["arm", "is_control", "scripted", *ends, "adjusted_p", *taken])
    for row in standings.rows:
        cells = [cell for item in (row.test, row.gain, row.against_baseline) for cell in _cells(item)]
        effort = [*dict(row.outlay).values(), row.meta_steps, row.num_stopped, row.num_meta_episodes]
        writer.writerow([row.arm, row.is_control, standings.scripted, *cells, row.adjusted_p, *effort])
    return told.getvalue()


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _cells(estimate: Estimate | None) -> list[float | None]:
    return [None, None, None] if estimate is None else [estimate.mean, estimate.low, estimate.high]
