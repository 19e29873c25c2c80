"""`metagym tasks check`."""

from __future__ import annotations

import json

from tests.cli.conftest import Metagym


def test_tasks_check_prints_roles_contents_and_the_trend(command: Metagym) -> None:
    arguments = ("tasks", "check", "MetaGym/Gates-v0", "--families", "law-0007", "--tasks", "12")
    done = command(*arguments, "--seeds", "3", "--steps", "3")
    assert "RandomActor under sp_0" in done.out
    assert "validation" in done.out
    assert "No difference between roles or meta-steps was found." in done.out
    found = json.loads(command(*arguments, "--seeds", "2", "--steps", "2", "--json").out)
    assert found["families"][0]["contents"]["test"] == {"num_tasks": 12, "num_contents": 12, "commonest": 1 / 12}


def test_tasks_check_says_that_equal_scores_show_no_difference(command: Metagym) -> None:
    done = command("tasks", "check", "MetaGym/Questions-v0", "--tasks", "3", "--seeds", "2", "--steps", "2")
    assert "All episodes have the same score in sums, products: with this actor the check cannot see" in done.out
    assert "No difference between roles" not in done.out


def test_tasks_check_plays_all_tasks_of_a_role_that_has_few(command: Metagym) -> None:
    arguments = ("tasks", "check", "MetaGym/Questions-v0", "--seeds", "1", "--steps", "1", "--json")
    (family,) = json.loads(command(*arguments, "--families", "sums", "--tasks", "200").out)["families"]
    assert sum(item["num_tasks"] for item in family["contents"].values()) == 210
    found = json.loads(command(*arguments, "--option", 'rows=[{"question": "1 + 1?", "answer": "2"}]').out)
    assert len(found["notes"]) == 3
    assert "questions has 0 validation tasks: too few to compare the roles." in found["notes"]


def test_tasks_check_asks_for_families_if_there_are_too_many(command: Metagym) -> None:
    done = command("tasks", "check", "MetaGym/Gates-v0")
    assert "has 1296 families, such as 'law-0000': name those to evaluate, --families a,b." in done.err
