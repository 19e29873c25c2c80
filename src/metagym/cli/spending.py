"""What the model calls of a run took, read from its folder: as JSON, and as a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from metagym.cli.console import console

if TYPE_CHECKING:
    from metagym.budget import Spending


def spending(run: Path) -> list[dict[str, Any]]:
    """Return what the model calls of a run folder took as JSON, one row for each role and purpose."""
    return [
        {
            "role": role,
            "for": purpose,
            **spent.usage.model_dump(),
            "num_retries": spent.num_retries,
            "num_unknown": spent.num_unknown,
            "unknown_tokens": spent.unknown_tokens,
            "cost": spent.cost,
        }
        for role, purpose, spent in _rows(run)
    ]


def print_spending(run: Path, *, to: Console = console) -> None:
    """Print what the model calls of a run folder took, by role and purpose; nothing if there were no calls."""
    rows = _rows(run)
    if not rows:
        return
    table = Table(
        "role", "for", *("calls", "retries", "prompt", "cached", "completion", "unknown", "cost", "waiting", "working")
    )
    for role, purpose, spent in rows:
        unknown = f"{spent.num_unknown} (< {spent.unknown_tokens:,} tokens)" if spent.num_unknown else "0"
        counts = (
            spent.usage.num_calls,
            spent.num_retries,
            spent.usage.prompt_tokens,
            spent.usage.cached_tokens,
            spent.usage.completion_tokens,
        )
        cost = f"{spent.cost:.4f}" if spent.max_cost else "-"
        times = (f"{seconds:.0f} s" for seconds in (spent.waiting_s, spent.working_s))
        table.add_row(role, purpose, *(f"{count:,}" for count in counts), unknown, cost, *times)
    to.print(table)


def _rows(run: Path) -> list[tuple[str, str, Spending]]:
    from metagym.runs.folder import load_ledger

    ledger = load_ledger(run)
    keys = sorted({key[:2] for key in ledger.rows()})
    return [(role, purpose, ledger.spent(role=role, purpose=purpose)) for role, purpose in keys]
