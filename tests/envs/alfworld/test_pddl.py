"""PDDL is read as far as ALFWorld uses it, and refused beyond."""

from __future__ import annotations

import pytest

from metagym.envs.alfworld.pddl import PddlError, Problem, ground_goal, read_expression, read_problem

PROBLEM = """
(define (problem p) (:domain alfred)
(:objects A1 - agent
  Mug_bar_1 Mug_bar_2 - object   ; two mugs
  Desk_bar_1 - receptacle MugType - otype DeskType - rtype)
(:init (objectType Mug_bar_1 MugType) (objectType Mug_bar_2 MugType) (receptacleType Desk_bar_1 DeskType))
(:goal (and (exists (?r - receptacle) (exists (?o - object)
   (and (objectType ?o MugType) (receptacleType ?r DeskType) (inReceptacle ?o ?r)))))))
"""
TWO = """(and (exists (?r - receptacle) (exists (?a - object) (and (objectType ?a MugType)
   (receptacleType ?r DeskType) (inReceptacle ?a ?r) (exists (?b - object)
   (and (not (= ?a ?b)) (objectType ?b MugType) (inReceptacle ?b ?r)))))))"""


def is_static(predicate: str) -> bool:
    return predicate.endswith("type")


def ground(goal: str) -> object:
    problem = read_problem(PROBLEM)
    return ground_goal(read_expression(goal), problem, is_static)


def test_a_problem_is_its_objects_facts_and_goal_in_lower_case() -> None:
    problem = read_problem(PROBLEM)
    assert problem.objects == {
        "a1": "agent",
        "mug_bar_1": "object",
        "mug_bar_2": "object",
        "desk_bar_1": "receptacle",
        "mugtype": "otype",
        "desktype": "rtype",
    }
    assert problem.facts == {
        ("objecttype", "mug_bar_1", "mugtype"),
        ("objecttype", "mug_bar_2", "mugtype"),
        ("receptacletype", "desk_bar_1", "desktype"),
    }


def test_a_surplus_parenthesis_at_the_end_is_ignored() -> None:
    assert read_problem(PROBLEM + ")") == read_problem(PROBLEM)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PROBLEM[:200], "the PDDL ends early: 2 parentheses are still open"),
        (PROBLEM + "(more)", "got text after its end"),
        ("mug", "begins with"),
        ("", "begins with"),
        ("(define (:objects) (:init))", "no section :goal"),
    ],
)
def test_a_text_that_is_not_a_problem_is_refused(text: str, message: str) -> None:
    with pytest.raises(PddlError, match=message):
        read_problem(text)


def test_a_goal_is_grounded_to_what_actions_can_change() -> None:
    problem = read_problem(PROBLEM)
    assert ground_goal(problem.goal, problem, is_static) == (
        ((("inreceptacle", "mug_bar_1", "desk_bar_1"),), (("inreceptacle", "mug_bar_2", "desk_bar_1"),)),
    )


def test_two_variables_of_a_goal_are_different_objects() -> None:
    ((first, second),) = ground(TWO)  # type: ignore[misc]
    assert (
        set(first)
        == set(second)
        == {
            ("inreceptacle", "mug_bar_1", "desk_bar_1"),
            ("inreceptacle", "mug_bar_2", "desk_bar_1"),
        }
    )


def test_a_goal_about_missing_things_has_no_grounding() -> None:
    assert ground("(and (exists (?o - object) (and (objectType ?o CupType) (isClean ?o))))") == ((),)


@pytest.mark.parametrize(
    "goal", ["(or (isClean mug_bar_1))", "(forall (?o - object) (isClean ?o))", "(not (isClean mug_bar_1))", "()"]
)
def test_a_goal_of_another_form_is_refused(goal: str) -> None:
    with pytest.raises(PddlError, match="expected a goal of exists, and, atoms"):
        ground_goal(read_expression(f"(and {goal})"), Problem({}, frozenset(), []), is_static)
