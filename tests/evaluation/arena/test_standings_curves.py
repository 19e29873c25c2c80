"""Curves: at each point of an axis the score of the last prompt that was known by then."""

from __future__ import annotations

import pytest

from metagym.budget import BudgetUse
from metagym.evaluation.arena import Bout
from metagym.evaluation.arena.standings import NUM_POINTS, EffortCurve, curves_of
from metagym.evaluation.report import PromptScores
from metagym.runs import Learned


def learned(family: str, seed: int, *episodes: int, tokens: int = 0) -> Learned:
    outlays = tuple(BudgetUse(episodes=number, tokens=tokens * place) for place, number in enumerate(episodes))
    return Learned(
        family=family,
        seed=seed,
        prompts=tuple(f"Prompt {number}." for number in range(len(episodes))),
        outlays=outlays,
        total=outlays[-1],
        usage={},
        num_meta_steps=len(episodes) - 1,
    )


def along(bout: Bout, axis: str, *rows: tuple[Learned, tuple[float | None, ...]]) -> EffortCurve:
    report = bout.reports[0].model_copy(
        update={
            "learned": tuple(item for item, _ in rows),
            "prompt_scores": tuple(
                PromptScores(family=item.family, seed=item.seed, scores=scores) for item, scores in rows
            ),
        }
    )
    return next(curve for curve in curves_of([report]) if curve.axis == axis)


def at(curve: EffortCurve, place: float) -> float:
    index = max(number for number, x in enumerate(curve.x) if x <= place + 1e-9)
    estimate = curve.scores[index]
    assert estimate is not None
    return estimate.mean


def test_a_prompt_counts_from_the_place_at_which_it_was_known(bout: Bout) -> None:
    curve = along(bout, "episodes", (learned("a", 0, 0, 10, 25), (0.0, 0.5, 1.0, 1.0)))
    assert [at(curve, place) for place in (0, 9, 10, 24, 25)] == [0.0, 0.0, 0.5, 0.5, 1.0]
    assert len(curve.x) == NUM_POINTS
    steps = along(bout, "meta-steps", (learned("a", 0, 0, 10, 25), (0.0, 0.5, 1.0, 1.0)))
    assert (steps.x, [at(steps, place) for place in range(3)]) == ((0.0, 1.0, 2.0), [0.0, 0.5, 1.0])


def test_a_meta_episode_that_ended_keeps_its_last_prompt_while_others_learn(bout: Bout) -> None:
    curve = along(
        bout,
        "episodes",
        (learned("a", 0, 0, 5), (0.0, 0.4, 0.4)),
        (learned("a", 1, 0, 5, 50), (0.0, 0.4, 1.0)),
    )
    assert at(curve, 48) == pytest.approx(0.4)
    assert at(curve, 50) == pytest.approx((0.4 + 1.0) / 2)


def test_families_weigh_equally_and_seeds_give_the_interval(bout: Bout) -> None:
    curve = along(
        bout,
        "meta-steps",
        *((learned(family, seed, 0, 5), (0.0, score)) for family, seed, score in (("a", 0, 1.0), ("b", 0, 0.0))),
        *((learned(family, seed, 0, 5), (0.0, score)) for family, seed, score in (("a", 1, 0.5), ("b", 1, 0.4))),
    )
    last = curve.scores[-1]
    assert last is not None
    assert (last.mean, last.num) == (pytest.approx((0.5 + 0.45) / 2), 2)


def test_an_axis_along_which_learning_took_nothing_has_no_curve(bout: Bout) -> None:
    axes = {curve.axis for curve in bout.standings.curves}
    assert axes == {"meta-steps", "episodes", "tokens"}  # no prices, no money
    for curve in bout.standings.curves:
        assert curve.x[0] == 0.0
        assert len(curve.x) == len(curve.scores)
        assert curve.scores[0] is not None
    # All arms begin at sp_0, on the same tasks and with a script that leaves nothing to chance.
    assert len({curve.scores[0].mean for curve in bout.standings.curves if curve.scores[0]}) == 1


def test_a_score_that_is_missing_is_left_out(bout: Bout) -> None:
    curve = along(bout, "meta-steps", (learned("a", 0, 0, 5), (0.0, None)))
    assert curve.scores == (curve.scores[0], None)


def test_the_first_prompt_counts_from_the_start_if_only_the_total_is_known(bout: Bout) -> None:
    curve = along(bout, "episodes", (learned("a", 0, 20, 20, 20), (0.0, 0.5, 1.0)))
    assert [at(curve, place) for place in (0, 19, 20)] == [0.0, 0.0, 1.0]
