"""Reports, streams and comparisons as tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Column, Table
from rich.text import Text

from metagym.evaluation.comparison import Comparison
from metagym.evaluation.report import EvaluationReport
from metagym.evaluation.stream import StreamReport
from metagym.rendering import plural
from metagym.statistics import Estimate
from metagym.types import Usage


def report_tables(report: EvaluationReport) -> list[RenderableType]:
    """Return a report as a table, one row a family and one for all, and its curves and verdict in lines."""
    # Two tables rather than one: 80 columns hold both, and a number that is cut off is none.
    scores = _table(
        "family", "sp_0", "chosen", "last", "gain [95 %]",
        title=f"{report.arm}: test scores, {plural(report.num_seeds, 'seed')}",
    )  # fmt: skip
    effects = _table(
        "family", "optimism", "replay", "transfer", "gap", "regressed",
        caption="\n".join(report.notes) or None,
    )  # fmt: skip
    for name, figures in [*report.families.items(), ("all", report.overall)]:
        is_last_family = name == list(report.families)[-1]
        tests = (figures.test_first, figures.test_chosen, figures.test_last)
        scores.add_row(name, *map(mean_text, tests), interval_text(figures.gain), end_section=is_last_family)
        effects.add_row(
            name,
            mean_text(figures.optimism, "+"),
            mean_text(figures.replay_gain, "+"),
            mean_text(figures.transfer_gain, "+"),
            mean_text(figures.memorisation_gap, "+"),
            mean_text(figures.regression_rate),
            end_section=is_last_family,
        )
    online = " ".join(mean_text(estimate) for estimate in report.overall.online)
    validation = " ".join(mean_text(estimate) for estimate in report.overall.validation)
    lines = (
        f"online score per meta-step:  {online}",
        f"validation score per prompt: {validation}",
        f"invalid actions on the test tasks: {mean_text(report.overall.invalid_action_rate)} under the chosen prompt, "
        f"{mean_text(report.overall.invalid_action_rate_first)} under sp_0",
        "tokens: " + ", ".join(f"{part} {_tokens(usage)}" for part, usage in report.usage.items()),
        f"verdict: {report.verdict}",
    )
    return [scores, effects, *map(Text, lines)]


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
        table.add_row(str(block + 1), *(mean_text(item) for item in row), _number(mean, ".2f"))
    told = {
        "online score": report.online_mean,
        "sp_0": report.first,
        "at the end": report.final,
        "forgetting": report.forgetting,
    }
    return [table, *(Text(f"{name}: {interval_text(estimate)}") for name, estimate in told.items())]


def comparison_tables(comparisons: Sequence[Comparison]) -> list[RenderableType]:
    """Return comparisons as a table, one row each, and one of their families."""
    first = comparisons[0]
    notes = list(dict.fromkeys(note for comparison in comparisons for note in comparison.notes))
    table = _table(
        "against", "difference [95 %]", "p", "sign flip",
        title=f"{first.first} against each: test score of the {first.endpoint} prompt, paired by seed",
    )  # fmt: skip
    reach = _table("against", "on new tasks [95 %]", "detectable", "dropped", caption="\n".join(notes) or None)
    for item in comparisons:
        dropped = f"{item.num_dropped}"
        if item.num_dropped:
            dropped += f" ({item.worst_case[0]:+.2f} to {item.worst_case[1]:+.2f})"
        p_value = None if item.difference is None else item.difference.p_value
        table.add_row(item.second, interval_text(item.difference), _p(p_value), _p(item.sign_flip_p))
        reach.add_row(item.second, interval_text(item.new_tasks), _number(item.detectable, ".3f"), dropped)
    # Lines, not a column: a terminal of 80 columns would break the sentences into syllables.
    verdicts = [Text(f"verdict: {item.verdict}") for item in comparisons]
    if len(first.families) < 2:
        return [table, reach, *verdicts]
    family_table = Table("against", "family", "difference [95 %]", "Holm's p")
    for item in comparisons:
        for name, family in item.families.items():
            family_table.add_row(item.second, name, interval_text(family.difference), _p(family.adjusted_p))
    return [table, reach, *verdicts, family_table]


def _table(*columns: str, title: str | None = None, caption: str | None = None) -> Table:
    return Table(*(Column(name, no_wrap=True) for name in columns), title=title, caption=caption)


def interval_text(estimate: Estimate | None) -> str:
    """Return a difference with its interval; a dash for none."""
    if estimate is None:
        return "-"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.mean:+.3f} (no interval)"
    return f"{estimate.mean:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}]"


def mean_text(estimate: Estimate | None, sign: str = "") -> str:
    """Return a mean with two digits, with `sign` "+" always signed; a dash for none."""
    return _number(None if estimate is None else estimate.mean, f"{sign}.2f")


def _p(value: float | None) -> str:
    return "<0.0001" if value is not None and value < 1e-4 else _number(value, ".4f")


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _tokens(usage: Usage) -> str:
    return f"{usage.prompt_tokens + usage.completion_tokens:,} in {usage.num_calls:,} calls"
