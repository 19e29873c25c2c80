"""The standings of an arena whose arms are the runs: the table, the headline, and the order of the arms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from metagym.evaluation.arena import Standings
from metagym.evaluation.arena.standings import STANDINGS_FILE
from metagym.evaluation.output.tables import budget_text, effort_cells
from metagym.rendering import plural
from metagym.report.number_format import format_interval, format_mean, format_p
from metagym.report.run_reading import Run
from metagym.report.svg import domain_of, whisker


def standings_of(group: Sequence[Run]) -> Standings | None:
    """Return the standings of the arena if these runs are all of its arms; otherwise None."""
    folders = {run.path.parent for run in group}
    if len(folders) != 1:
        return None
    try:
        standings = Standings.model_validate_json((folders.pop() / STANDINGS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None  # an arena writes them when it ends; until then its arms are shown one by one
    return standings if {row.arm for row in standings.rows} == {run.arm for run in group} else None


def in_order(group: Sequence[Run], standings: Standings) -> list[Run]:
    """Return the runs in the order of the standings; the baseline is last, so that the headline is about a method."""
    places = {row.arm: place for place, row in enumerate(standings.rows)}
    return sorted(group, key=lambda run: (run.arm == standings.baseline, places[run.arm]))


def standings_headline(standings: Standings) -> tuple[str, str]:
    """Return what the arena showed, in one sentence, and what that rests on."""
    methods = [row for row in standings.rows if not row.is_control]
    controls = len(standings.rows) - len(methods)
    basis = (
        "Test score of the prompt that each method returns. "
        f"{plural(len(standings.families), 'family')}, {plural(standings.num_seeds, 'seed')}, the same tasks in all "
        f"arms; {plural(controls, 'control arm')}. Each meta-episode may take {budget_text(standings)} to learn."
    )
    if standings.scripted:
        return f"{plural(len(methods), 'method')} side by side with a scripted stand-in: no method is ranked", basis
    best = methods[0]
    sentence = (
        f"{plural(len(methods), 'method')} under equal budgets: {best.arm} scored highest, {format_mean(best.test)}"
    )
    return sentence, f"{basis} A difference whose interval contains 0 is not shown to exist."


def standings_rows(standings: Standings) -> list[dict[str, Any]]:
    """Return the rows of the table: the methods, then the controls."""
    domain = domain_of([row.against_baseline for row in standings.rows])
    return [
        {
            "name": row.arm,
            "is_control": row.is_control,
            "test": format_mean(row.test),
            "gain": format_mean(row.gain, sign=True),
            "gain_interval": format_interval(row.gain),
            "graphic": whisker(row.against_baseline, domain),
            "difference": format_mean(row.against_baseline, sign=True),
            "interval": format_interval(row.against_baseline),
            "p": format_p(row.adjusted_p),
            "effort": effort_cells(row),
        }
        for row in standings.rows
    ]
