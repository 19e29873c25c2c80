"""An arena's standings, where runs belong to one: its table, its headline, and the order of its arms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from metagym.evaluation.arena import Standings
from metagym.evaluation.arena.standings import FILE
from metagym.evaluation.output.tables import budget_text, effort_cells
from metagym.rendering import plural
from metagym.report.charts import domain_of, whisker
from metagym.report.sources import Run
from metagym.report.words import interval, mean, p_value


def read_standings(group: Sequence[Run]) -> Standings | None:
    """Return the standings of the arena that these runs are the arms of; None where they are none, or not all of it."""
    folders = {run.path.parent for run in group}
    if len(folders) != 1:
        return None
    try:
        standings = Standings.model_validate_json((folders.pop() / FILE).read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None  # an arena writes them at its end; until then its arms are shown as they are
    return standings if {row.arm for row in standings.rows} == {run.arm for run in group} else None


def in_order(group: Sequence[Run], standings: Standings) -> list[Run]:
    """Return the runs as the standings have them, but for the baseline, which is no method's headline."""
    places = {row.arm: place for place, row in enumerate(standings.rows)}
    return sorted(group, key=lambda run: (run.arm == standings.baseline, places[run.arm]))


def standings_headline(standings: Standings) -> tuple[str, str]:
    """Return what the arena showed in a sentence, and under it what that rests on."""
    methods = [row for row in standings.rows if not row.is_control]
    controls = len(standings.rows) - len(methods)
    basis = (
        "Test score of the prompt that each method hands over. "
        f"{plural(len(standings.families), 'family')}, {plural(standings.num_seeds, 'seed')}, the same tasks in all "
        f"arms; {plural(controls, 'control arm')}. Each meta-episode may take {budget_text(standings)} to learn."
    )
    if standings.scripted:
        return f"{plural(len(methods), 'method')} side by side, plumbing only: none is ranked", basis
    best = methods[0]
    told = f"{plural(len(methods), 'method')} under equal budgets: {best.arm} scored highest, {mean(best.test)}"
    return told, f"{basis} A difference that its interval does not keep from 0 is not shown."


def standings_rows(standings: Standings) -> list[dict[str, Any]]:
    """Return the table: a row a method, then the controls."""
    domain = domain_of([row.against_baseline for row in standings.rows])
    return [
        {
            "name": row.arm,
            "is_control": row.is_control,
            "test": mean(row.test),
            "gain": mean(row.gain, sign=True),
            "gain_interval": interval(row.gain),
            "graphic": whisker(row.against_baseline, domain),
            "difference": mean(row.against_baseline, sign=True),
            "interval": interval(row.against_baseline),
            "p": p_value(row.adjusted_p),
            "effort": effort_cells(row),
        }
        for row in standings.rows
    ]
