from __future__ import annotations

import subprocess
import sys

import pytest

from metagym.envs.minihack.families import DEFAULT_FAMILIES, FAMILIES, GROUPS, REFUSED, check_family, goal_of
from metagym.errors import UnknownNameError


def test_122_ids_work_and_39_are_refused():
    assert len(FAMILIES) == len(set(FAMILIES)) == 122
    assert len(REFUSED) == 39
    assert not set(FAMILIES) & set(REFUSED)
    assert set(DEFAULT_FAMILIES) <= set(FAMILIES)


def test_every_family_is_in_exactly_one_group():
    members = [family for group in GROUPS.values() for family in group]
    assert sorted(members) == list(FAMILIES)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("MiniHack-MultiRoom-N2-v0", "needs the package minigrid"),
        ("MiniHack-Boxoban-Hard-v0", "must be downloaded"),
        ("MiniHack-Skill-Custom-v0", "needs a des-file"),
        ("MiniHack-Room-5x5-v1", "Did you mean 'MiniHack-Room-5x5-v0'"),
    ],
)
def test_a_refused_id_is_refused_with_its_reason(name, reason):
    with pytest.raises(UnknownNameError, match=reason):
        check_family(name)


def test_a_goal_contains_no_id():
    for family in FAMILIES:
        assert goal_of(family)
        assert "MiniHack" not in goal_of(family)


def test_the_goal_is_that_of_the_family():
    assert goal_of("MiniHack-Read-Distr-v0") == "Read the scroll."
    assert goal_of("MiniHack-WoD-Easy-Full-v0") == "Kill the minotaur."
    assert (
        goal_of("MiniHack-WoD-Hard-Full-v0") == goal_of("MiniHack-Freeze-Lava-Full-v0") == goal_of(DEFAULT_FAMILIES[0])
    )
    assert goal_of("MiniHack-Freeze-Wand-Full-v0") == "Make a bolt of cold bounce off a wall."


def test_nothing_is_imported_before_a_game_is_needed():
    code = (
        "import sys, metagym.envs.minihack.demo, metagym.envs.minihack.env, metagym.envs.minihack.tasks;"
        "sys.exit(any(name in sys.modules for name in ('minihack', 'nle', 'pkg_resources')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
