"""The standings as tables: the same columns for the terminal, Markdown and CSV."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE
from rich.console import RenderableType
from rich.table import Column, Table
from rich.text import Text

from metagym.evaluation.arena.standings import Standing, Standings
from metagym.rendering import plural
from metagym.statistics import Estimate


def standings_tables(standings: Standings) -> list[RenderableType]:
    """Return the standings for the terminal: scores, then what learning took."""
    # Two tables rather than one: 80 columns hold both.
    scores = _table("test", "gain [95 %]", f"minus {standings.baseline} [95 %]", "p", title=title_of(standings))
    effort = _table("episodes", "calls", "tokens", "money", "steps", "stopped", title="what learning took")
    for before, row in zip([None, *standings.rows], standings.rows, strict=False):
        if before is not None and row.is_control and not before.is_control:
            scores.add_section()
            effort.add_section()
        scores.add_row(*score_cells(row))
        effort.add_row(row.arm, *effort_cells(row))
    budget = f"Learning is counted per meta-episode, on average; the budget of each: {budget_of(standings)}."
    return [scores, effort, *map(Text, [budget, *standings.notes])]


def title_of(standings: Standings) -> str:
    """Return what the table is about, in a line."""
    told = f"{standings.place}: {plural(standings.num_seeds, 'seed')}, {plural(len(standings.families), 'family')}"
    return f"PLUMBING ONLY. {told}" if standings.scripted else told


def budget_of(standings: Standings) -> str:
    """Return the learning budget in words."""
    limits = standings.budget.model_dump(exclude_none=True)
    return ", ".join(f"{value:,} {'money' if name == 'cost' else name}" for name, value in limits.items())


def score_cells(row: Standing) -> Sequence[str]:
    """Return the arm, its test score, gain, difference to the baseline, and Holm's p."""
    test = "-" if row.test is None else f"{row.test.mean:.2f}"
    p_value = "-" if row.adjusted_p is None else f"{row.adjusted_p:.4f}"
    return row.arm, test, _interval(row.gain), _interval(row.against_baseline), p_value


def effort_cells(row: Standing) -> Sequence[str]:
    """Return what a meta-episode took, its meta-steps, and how many ended early."""
    outlay = row.outlay
    money = f"{outlay.cost:.4g}" if outlay.cost else "-"
    stopped = f"{row.num_stopped} of {row.num_meta_episodes}"
    return f"{outlay.episodes:,}", f"{outlay.calls:,}", f"{outlay.tokens:,}", money, f"{row.meta_steps:.1f}", stopped


def _interval(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.mean:+.2f} (no interval)"
    return f"{estimate.mean:+.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"


def _table(*columns: str, title: str) -> Table:
    named = [
        Column("arm", overflow="fold"),
        *(Column(name, no_wrap=True) for name in columns),
    ]
    return Table(*named, title=title, box=SIMPLE, show_edge=False, collapse_padding=True)
