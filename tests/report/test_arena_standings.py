"""The report of an arena: its standings come first, and no arm is the headline of a plumbing run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from metagym.evaluation.arena import Bout
from metagym.report.headlines import standings_headline
from metagym.report.page import arrange
from metagym.report.run_reading import read_runs, standings_of
from metagym.report.table_rows import standings_rows
from tests.evaluation.conftest import bout  # noqa: F401
from tests.report.conftest import Report
from tests.report.test_page import headlines, words


def test_the_standings_are_shown_and_nothing_is_ranked_that_a_stand_in_played(report: Report, bout: Bout) -> None:  # noqa: F811
    page = report(bout.folder)
    assert headlines(page) == ["SCRIPTED 4 methods side by side with a script: no method is ranked"]
    told = words(page)
    assert "2 families, 3 seeds, the same tasks in all arms; 2 control arms. Each meta-episode may take 6 " in told
    assert "empty experience (ict) control" in told
    assert "Against each" not in told  # the standings hold the differences


def test_arms_stand_as_in_the_standings_and_the_baseline_is_no_headline(bout: Bout) -> None:  # noqa: F811
    (group,) = arrange(read_runs([bout.folder], max_episodes=0))
    assert [run.arm for run in group] == [row.arm for row in bout.standings.rows if row.arm != "fixed"] + ["fixed"]
    assert standings_of(group) == bout.standings
    assert [row["name"] for row in standings_rows(bout.standings)] == [row.arm for row in bout.standings.rows]


def test_what_models_played_names_the_highest_score_and_claims_no_more(bout: Bout) -> None:  # noqa: F811
    told, basis = standings_headline(bout.standings.model_copy(update={"scripted": False}))
    first = bout.standings.rows[0]
    assert first.test is not None
    assert told == f"4 methods under equal budgets: {first.arm} scored highest, {first.test.mean:.2f}"
    assert "A difference whose interval contains 0 is not shown to exist" in basis


@pytest.mark.parametrize("harm", ["broken", "part"])
def test_without_whole_standings_the_arms_are_shown_as_evaluations(
    report: Report,
    bout: Bout,  # noqa: F811
    tmp_path: Path,
    harm: str,
) -> None:
    shutil.copytree(bout.folder, tmp_path / "arena")
    if harm == "broken":
        (tmp_path / "arena" / "arena.json").write_text("{")
    else:
        shutil.rmtree(tmp_path / "arena" / "fixed")
    assert "Against each" in words(report(tmp_path / "arena"))
