"""The standings on the disk and on the terminal: no scripted method is called better."""

from __future__ import annotations

import csv
import io
import re
import sys
from pathlib import Path

import pytest
from rich.console import Console

from metagym.errors import RunFolderError
from metagym.evaluation.arena import Bout
from metagym.evaluation.arena.standings import build_standings, read_standings
from metagym.evaluation.output.exports import to_markdown, write_standings
from metagym.evaluation.output.tables import standings_tables
from tests.evaluation.arena.test_standings import unscripted


def printed(bout: Bout, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(*standings_tables(bout.standings), sep="\n")
    return console.export_text()


def test_what_a_script_played_is_plumbing_in_every_form(bout: Bout) -> None:
    for text in (printed(bout, 120), to_markdown(bout.standings)):
        words = " ".join(text.split())
        assert "PLUMBING ONLY" in words
        assert "SCRIPTED, plumbing only" in words
        assert not re.search(r"\b(better|worse|best|winner|first place|wins)\b(?!_of_n)", words)
        places = [words.index(row.arm.split(" ")[0]) for row in bout.standings.rows[:4]]
        assert places == sorted(places)


def test_eighty_columns_hold_every_number(bout: Bout) -> None:
    text = printed(bout)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "Learning is counted per meta-episode" in text


def test_the_folder_holds_the_standings_in_all_forms(bout: Bout) -> None:
    assert read_standings(bout.folder) == bout.standings
    assert (bout.folder / "arena.md").read_text() == to_markdown(bout.standings)
    rows = list(csv.DictReader(io.StringIO((bout.folder / "arena.csv").read_text())))
    assert [row["arm"] for row in rows] == [row.arm for row in bout.standings.rows]
    assert {row["scripted"] for row in rows} == {"True"}
    assert [int(row["episodes"]) for row in rows] == [row.outlay.episodes for row in bout.standings.rows]
    gain = bout.standings.rows[1].gain
    assert gain is not None
    assert float(rows[1]["gain"]) == gain.mean


def test_a_figure_is_drawn_if_matplotlib_is_installed(bout: Bout) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra metagym[report]")
    from metagym.evaluation.output.plots import plot_standings

    assert (bout.folder / "arena.png").read_bytes().startswith(b"\x89PNG")
    figure = plot_standings(bout.standings)
    assert [panel.get_xlabel() for panel in figure.axes] == [
        "meta-steps taken by learning",
        "episodes taken by learning",
        "tokens taken by learning",
    ]
    assert "SCRIPTED" in figure.get_suptitle()
    assert len(figure.axes[0].lines) == len(bout.standings.rows)


def test_without_matplotlib_the_rest_is_written(bout: Bout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    written = write_standings(bout.standings, tmp_path)
    assert [path.name for path in written] == ["arena.json", "arena.md", "arena.csv"]


def test_ranked_standings_show_holms_p(bout: Bout) -> None:
    standings = build_standings(unscripted(bout), "here", baseline="fixed")
    text = to_markdown(standings)
    assert "PLUMBING" not in text
    best = standings.rows[0]
    assert best.adjusted_p is not None
    assert f"{best.adjusted_p:.4f}" in text


def test_standings_that_cannot_be_written_are_an_error_with_the_place(bout: Bout, tmp_path: Path) -> None:
    (tmp_path / "arena.json").mkdir()
    with pytest.raises(RunFolderError, match=r"Expected a place for the standings that can be written at"):
        write_standings(bout.standings, tmp_path)
