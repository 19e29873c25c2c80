"""The standings: ranks, paired differences, and what a meta-episode took."""

from __future__ import annotations

import numpy as np
import pytest

from metagym.evaluation.arena import Bout, Standings
from metagym.evaluation.arena.standings import PLUMBING, build_standings
from metagym.evaluation.report import EvaluationReport
from metagym.runs import Role
from metagym.statistics import mean_interval, together


def unscripted(bout: Bout) -> list[EvaluationReport]:
    """The same reports, as if language models had played; `fixed` is good, and the others are not."""
    scores = {"fixed": 0.5, "ict": 0.25, "training_free_grpo_style": 1.0, "best_of_n(ict)": 0.75}
    found = []
    for report in bout.reports:
        tests = tuple(
            item.model_copy(update={"scores": tuple(_scores(scores.get(report.arm, 0.1), item.seed, len(item.scores)))})
            if item.role is Role.TEST_LAST
            else item
            for item in report.tests
        )
        mean = mean_interval([scores.get(report.arm, 0.1)])
        overall = report.overall.model_copy(update={"test_last": mean})
        update = {"scripted": False, "tests": tests, "overall": overall, "notes": (), "score_bounds": None}
        found.append(report.model_copy(update=update))
    return found


def _scores(mean: float, seed: int, num: int) -> list[float]:
    rng = np.random.default_rng([round(100 * mean), seed])
    return [float(mean + noise) for noise in rng.uniform(-0.05, 0.05, num)]


def test_scripted_methods_are_plumbing_in_the_order_in_which_they_were_given(bout: Bout) -> None:
    standings = bout.standings
    assert standings.scripted
    assert standings.notes[0] == PLUMBING
    assert [row.arm for row in standings.rows] == [report.arm for report in bout.reports]
    assert [row.is_control for row in standings.rows] == [False] * 4 + [True] * 2
    assert {row.adjusted_p for row in standings.rows} == {None}


def test_models_are_ranked_by_their_test_score_and_the_controls_come_last(bout: Bout) -> None:
    standings = build_standings(unscripted(bout), "here", baseline="fixed")
    assert not standings.scripted
    assert [row.arm for row in standings.rows] == [
        "training_free_grpo_style",
        "best_of_n(ict)",
        "fixed",
        "ict",
        "same again (ict)",
        "empty experience (ict)",
    ]
    assert PLUMBING not in standings.notes


def test_differences_are_the_arms_minus_the_baseline_paired_by_seed_with_holms_p(bout: Bout) -> None:
    reports = unscripted(bout)
    rows = {row.arm: row for row in build_standings(reports, "here", baseline="fixed").rows}
    assert rows["fixed"].against_baseline is None
    by_seed = {}
    for report in reports:
        tests = [item for item in report.tests if item.role is Role.TEST_LAST]
        by_seed[report.arm] = np.array(
            [np.mean([item.mean for item in tests if item.seed == seed]) for seed in range(3)]  # type: ignore[list-item]
        )
    scale = max(score for report in reports for item in report.tests for score in item.scores if score is not None)
    expected = together(
        {
            arm: mean_interval(scores - by_seed["fixed"], resolution=scale / 2 / 4, bounds=(-scale, scale))
            for arm, scores in by_seed.items()
            if arm != "fixed"
        },
        bounds=(-scale, scale),
    )
    for arm, estimate in expected.items():
        assert estimate is not None
        found = rows[arm].against_baseline
        assert found is not None
        for name in ("mean", "low", "high", "p_value"):
            assert getattr(found, name) == pytest.approx(getattr(estimate, name))
        assert rows[arm].adjusted_p == pytest.approx(estimate.adjusted_p)
    assert rows["ict"].against_baseline is not None
    assert rows["ict"].against_baseline.mean < 0 < rows["best_of_n(ict)"].against_baseline.mean  # type: ignore[union-attr]


def test_methods_have_open_ranks_and_the_first_row_is_shown_without_its_luck(bout: Bout) -> None:
    standings = build_standings(unscripted(bout), "here", baseline="fixed")
    ranks = {row.arm: row.ranks for row in standings.rows}
    assert ranks["same again (ict)"] is None  # controls have no rank
    for place, row in enumerate(standings.rows[:4], start=1):
        assert row.ranks is not None
        assert row.ranks[0] <= place <= row.ranks[1]
    assert standings.winner_by_split is not None
    assert standings.winner_by_split == pytest.approx(standings.rows[0].test.mean, abs=0.1)  # type: ignore[union-attr]
    assert standings.notes[0].startswith("The best of 4 noisy scores is too high (the winner's curse). The first row ")
    assert (bout.standings.winner_by_split, bout.standings.rows[0].ranks) == (None, None)


def test_what_learning_took_is_counted_per_meta_episode(bout: Bout) -> None:
    rows = {row.arm: row for row in bout.standings.rows}
    ict = next(report for report in bout.reports if report.arm == "ict")
    assert rows["ict"].outlay.episodes == rows["ict"].most.episodes == 6
    assert rows["ict"].most.tokens == max(item.total.tokens for item in ict.learned)
    assert rows["ict"].outlay.calls == 3
    assert (rows["fixed"].outlay.calls, rows["ict"].meta_steps, rows["ict"].num_stopped) == (0, 3.0, 0)
    stopped = rows["training_free_grpo_style"]
    assert (stopped.num_stopped, stopped.num_meta_episodes, stopped.meta_steps) == (6, 6, 1.0)
    assert stopped.why_stopped.startswith("The budget of 6 episodes leaves")


def test_the_standings_round_trip_through_json(bout: Bout) -> None:
    assert Standings.model_validate_json(bout.standings.model_dump_json()) == bout.standings
