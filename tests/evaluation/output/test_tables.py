"""Tables of results in a terminal of 80 columns: names may break into lines, numbers are never cut off."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from metagym.evaluation import EvaluationConfig, compare
from metagym.evaluation.output.tables import comparison_tables, report_tables
from metagym.evaluation.report import build_report
from metagym.runs.measurements import Measurement, Role
from metagym.types import Usage

FAMILIES = ("MiniHack-Room-Dark-5x5-v0", "MiniHack-LavaCross-Levitate-Potion-Inv-Full-v0")
ROLES = (Role.ONLINE, Role.REPLAY, Role.TEST_FIRST, Role.TEST_CHOSEN, Role.TEST_LAST)


def scored(family: str, seed: int, role: Role, index: int) -> Measurement:
    scores = tuple(float((seed + index + task) % 3 > 0) for task in range(8))
    return Measurement(
        family=family, seed=seed, role=role, index=index, prompt="p", usage=Usage(), task_ids=tuple("abcdefgh"),
        scores=scores, num_steps=8, num_invalid=0, scripted=False,
    )  # fmt: skip


@pytest.mark.parametrize("show", [report_tables, comparison_tables])
def test_no_number_is_cut_off_beside_long_names(show: object) -> None:
    places = [*((role, 0) for role in ROLES), (Role.VALIDATION, 0), (Role.VALIDATION, 1)]
    items = [scored(family, seed, *place) for family in FAMILIES for seed in range(4) for place in places]
    config = EvaluationConfig(families=FAMILIES, num_steps=1)
    arms = [build_report(config, items, arm=f"reflexion with a rather long name {number}") for number in range(2)]
    parts = report_tables(arms[0]) if show is report_tables else comparison_tables(compare(arms))
    text = io.StringIO()
    Console(file=text, width=80).print(*parts, sep="\n")
    assert "│" in text.getvalue()
    assert "…" not in text.getvalue()
