"""Results as files: scores as Parquet, and the standings of an arena as JSON, Markdown, CSV and a figure."""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from metagym.errors import ConfigError, MissingExtraError, RunFolderError
from metagym.evaluation.output.plots import plot_standings, write_figure
from metagym.evaluation.output.tables import budget_text, effort_cells, score_cells, score_columns, standings_title
from metagym.files import write_whole
from metagym.imports import require
from metagym.runs import Measurement, RunFolder
from metagym.runs.store import writing_to
from metagym.statistics import Estimate

if TYPE_CHECKING:
    from metagym.evaluation.arena.standings import Standings

COLUMNS: Final = ("run", "arm", "family", "seed", "role", "index", "task_id", "score", "prompt", "scripted")
"""The columns of the Parquet table: one row per score; `score` is null for an infrastructure error."""


def write_parquet(run: RunFolder, path: str | Path) -> int:
    """Write every score of an evaluation as a row of the table `COLUMNS`; return the number of rows."""
    if run.manifest.evaluation is None:
        raise ConfigError(f"Expected an evaluation, got a single run, whose episodes --atif writes: {run.path}.")
    arrow, parquet = require("pyarrow", extra="report"), require("pyarrow.parquet", extra="report")
    arm = run.manifest.evaluation["arm"]
    rows = [
        (run.path.name, arm, own.family, own.seed, own.role.value, own.index, task_id, score, own.prompt, own.scripted)
        for own in run.all(Measurement).values()
        for task_id, score in zip(own.task_ids, own.scores, strict=True)
    ]
    text, integer = arrow.string(), arrow.int64()
    types = (text, text, text, integer, text, integer, text, arrow.float64(), text, arrow.bool_())
    columns = list(zip(*rows, strict=True)) or [()] * len(COLUMNS)
    arrays = [arrow.array(column, type=kind) for column, kind in zip(columns, types, strict=True)]
    with writing_to(path):
        parquet.write_table(arrow.table(arrays, names=list(COLUMNS)), path)
    return len(rows)


def write_standings(standings: Standings, folder: str | Path) -> list[Path]:
    """Write `arena.json`, `arena.md`, `arena.csv`, and `arena.png` if there are curves and matplotlib is installed.

    Return the paths.
    """
    texts = {
        "arena.json": standings.model_dump_json(indent=2) + "\n",
        "arena.md": to_markdown(standings),
        "arena.csv": to_csv(standings),
    }
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            write_whole(folder / name, text)
    except OSError as error:
        raise RunFolderError(
            f"Expected a place for the standings that can be written at {folder}: {error}. The records of the arms are "
            "kept there; make room, and run the same command again."
        ) from error
    paths = [folder / name for name in texts]
    with contextlib.suppress(MissingExtraError):
        if standings.curves:
            write_figure(plot_standings(standings), folder / "arena.png")
            paths.append(folder / "arena.png")
    return paths


def to_markdown(standings: Standings) -> str:
    """Return the standings as a Markdown table, with notes on how to read it below."""
    head = [*score_columns(standings), "episodes", "calls", "tokens", "money", "meta-steps", "stopped early"]
    rows = [(*score_cells(row), *effort_cells(row)) for row in standings.rows]
    lines = [f"# {standings_title(standings)}", "", _line(head), _line(["---"] * len(head)), *map(_line, rows), ""]
    notes = [f"The learning budget of each meta-episode: {budget_text(standings)}.", *standings.notes]
    return "\n".join([*lines, *(f"- {note}" for note in notes), ""])


def to_csv(standings: Standings) -> str:
    """Return the standings as CSV, one row an arm, numbers in full."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    estimates = ("test", "gain", f"minus_{standings.baseline}")
    ends = [f"{name}{end}" for name in estimates for end in ("", "_low", "_high")]
    effort = ("episodes", "calls", "tokens", "cost", "meta_steps", "num_stopped", "num_meta_episodes")
    writer.writerow(["arm", "is_control", "scripted", *ends, "adjusted_p", "best_rank", "worst_rank", *effort])
    for row in standings.rows:
        cells = [cell for item in (row.test, row.gain, row.against_baseline) for cell in _cells(item)]
        numbers = [*dict(row.outlay).values(), row.meta_steps, row.num_stopped, row.num_meta_episodes]
        ranks = row.ranks or (None, None)
        writer.writerow([row.arm, row.is_control, standings.scripted, *cells, row.adjusted_p, *ranks, *numbers])
    return text.getvalue()


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _cells(estimate: Estimate | None) -> list[float | None]:
    return [None, None, None] if estimate is None else [estimate.mean, estimate.low, estimate.high]
