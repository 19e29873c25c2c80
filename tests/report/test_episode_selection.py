"""Which episodes a report shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from metagym.report.episode_selection import Phase, by_importance, phase_of, share_out
from metagym.report.run_reading import read_runs
from metagym.runs import RunFolder


@pytest.mark.parametrize(
    ("name", "phase"),
    [
        ("my/arm/law-0007/2", Phase("learning", 5, "law-0007", 2)),
        ("my/arm/law-0007/2/validation-4", Phase("validation", 4, "law-0007", 2)),
        ("my/arm/law-0007/2/replay-0", Phase("replay", 0, "law-0007", 2)),
        ("my/arm/law-0007/2/seen kinds before-1", Phase("seen kinds before", 1, "law-0007", 2)),
        ("my/arm/law-0007/2/seen kinds after-1", Phase("seen kinds after", 1, "law-0007", 2)),
        ("my/arm/law-0007/2/test chosen", Phase("test chosen", 0, "law-0007", 2)),
        ("another", Phase("learning", 5)),
    ],
)
def test_the_name_of_an_episodes_arm_says_what_it_was_played_for(name: str, phase: Phase) -> None:
    assert phase_of((5, name, "law-0007/9", 0), "my/arm") == phase


def test_every_episode_of_an_evaluation_has_a_known_phase(campaign: Path) -> None:
    with RunFolder.open(campaign / "demo") as run:
        phases = {phase_of(key, "demo") for key in run.keys}
        assert len(by_importance(run)) == run.num_episodes
    assert {phase.name for phase in phases} == {
        "learning", "replay", "validation", "test first", "test chosen", "test last",
    }  # fmt: skip
    assert {(phase.family, phase.seed) for phase in phases} == {
        (family, seed) for family in ("law-0007", "law-0500") for seed in range(3)
    }


def test_where_there_are_too_many_all_arms_show_the_same_tasks_whole_seeds_first(campaign: Path) -> None:
    shown = [
        [(*phase_of(item.episode.key, run.name), item.task.id) for item in run.episodes]
        for run in read_runs([campaign], max_episodes=90)
    ]
    assert [len(episodes) for episodes in shown] == [30, 30, 30]
    assert len({frozenset(episodes) for episodes in shown}) == 1
    assert {seed for episode in shown for _, _, _, seed, _ in episode} == {0}
    assert sum(name == "learning" for name, *_ in shown[0]) == 2 * 3 * 3


def test_a_run_under_two_spellings_of_its_path_is_shown_once(campaign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(campaign / "demo")
    (run,) = read_runs([Path(), campaign / "demo", campaign / "demo" / ".." / "demo"], max_episodes=0)
    assert run.name == "demo"


def test_shares_are_even_and_none_is_lost() -> None:
    assert share_out([5, 5], 100) == [5, 5]
    assert share_out([0, 100, 3], 10) == [0, 7, 3]
    assert sum(share_out([100, 100, 100], 100)) == 100
    assert share_out([], 5) == []
