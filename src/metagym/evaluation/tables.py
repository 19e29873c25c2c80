"""Reports, streams and comparisons as tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from metagym.evaluation.comparison import Comparison
from metagym.evaluation.report import EvaluationReport
from metagym.evaluation.stream import StreamReport
from metagym.statistics import Estimate
from metagym.types import Usage


def report_tables(report: EvaluationReport) -> list[RenderableType]:
    """Return a report as a table, one row a family and one for all, and its curves and verdict in lines."""
    table = Table(
        "family", "sp_0", "chosen", "last", "gain [95 %]", "optimism", "replay", "transfer", "gap", "regressed",
        title=f"{report.arm}: test scores, {report.num_seeds} seeds",
        caption="\n".join(report.notes) or None,
    )  # fmt: skip
    for name, figures in [*report.families.items(), ("all", report.overall)]:
        table.add_row(
            name,
            _mean(figures.test_first),
            _mean(figures.test_chosen),
            _mean(figures.test_last),
            _interval(figures.gain),
            _mean(figures.optimism, "+"),
            _mean(figures.replay_gain, "+"),
            _mean(figures.transfer_gain, "+"),
            _mean(figures.memorisation_gap, "+"),
            _mean(figures.regression_rate),
            end_section=name == list(report.families)[-1],
        )
    online = " ".join(_mean(estimate) for estimate in report.overall.online)
    validation = " ".join(_mean(estimate) for estimate in report.overall.validation)
    lines = (
        f"online score per meta-step:  {online}",
        f"validation score per prompt: {validation}",
        f"invalid actions on the test tasks: {_mean(report.overall.invalid_action_rate)} under the chosen prompt, "
        f"{_mean(report.overall.invalid_action_rate_first)} under sp_0",
        "tokens: " + ", ".join(f"{part} {_tokens(usage)}" for part, usage in report.usage.items()),
        f"verdict: {report.verdict}",
    )
    return [table, *map(Text, lines)]


def stream_tables(report: StreamReport) -> list[RenderableType]:
    """Return a stream: after each block (row) the test score on the family of each block (column)."""
    blocks = range(len(report.retention))
    table = Table(
        "after block", *(f"family {block + 1}" for block in blocks), "online in the block",
        title=f"{report.arm}: test scores along the stream",
        caption="\n".join(report.notes) or None,
    )  # fmt: skip
    for block, row in enumerate(report.retention):
        steps = report.online[block * report.config.num_steps : (block + 1) * report.config.num_steps]
        online = [step.mean for step in steps if step is not None]
        mean = sum(online) / len(online) if online else None
        table.add_row(str(block + 1), *(_mean(item) for item in row), _number(mean, ".2f"))
    told = {
        "online score": report.online_mean,
        "sp_0": report.first,
        "at the end": report.final,
        "forgetting": report.forgetting,
    }
    return [table, *(Text(f"{name}: {_interval(estimate)}") for name, estimate in told.items())]


def comparison_tables(comparisons: Sequence[Comparison]) -> list[RenderableType]:
    """Return comparisons as a table, one row each, and one of their families."""
    first = comparisons[0]
    notes = list(dict.fromkeys(note for comparison in comparisons for note in comparison.notes))
    table = Table(
        "against", "difference [95 %]", "p", "sign flip", "new tasks [95 %]", "detectable", "dropped", "verdict",
        title=f"{first.first} against each: test score of the {first.endpoint} prompt, paired by seed",
        caption="\n".join(notes) or None,
    )  # fmt: skip
    for item in comparisons:
        dropped = f"{item.num_dropped}"
        if item.num_dropped:
            dropped += f" (worst case {item.worst_case[0]:+.2f} to {item.worst_case[1]:+.2f})"
        p_value = None if item.difference is None else item.difference.p_value
        table.add_row(
            item.second,
            _interval(item.difference),
            _p(p_value),
            _p(item.sign_flip_p),
            _interval(item.new_tasks),
            _number(item.detectable, ".3f"),
            dropped,
            item.verdict,
        )
    if len(first.families) < 2:
        return [table]
    family_table = Table("against", "family", "difference [95 %]", "Holm's p")
    for item in comparisons:
        for name, family in item.families.items():
            family_table.add_row(item.second, name, _interval(family.difference), _p(family.adjusted_p))
    return [table, family_table]


def _interval(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.mean:+.3f} [no interval]"
    return f"{estimate.mean:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}]"


def _mean(estimate: Estimate | None, sign: str = "") -> str:
    return _number(None if estimate is None else estimate.mean, f"{sign}.2f")


def _p(value: float | None) -> str:
    return "<0.0001" if value is not None and value < 1e-4 else _number(value, ".4f")


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _tokens(usage: Usage) -> str:
    return f"{usage.prompt_tokens + usage.completion_tokens:,} in {usage.num_calls:,} calls"
