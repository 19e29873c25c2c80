"""Reports, streams, comparisons and standings as tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from rich.box import SIMPLE
from rich.console import RenderableType
from rich.table import Column, Table
from rich.text import Text

from metagym.evaluation.comparison import Comparison
from metagym.evaluation.family_stream import StreamReport
from metagym.evaluation.report import EvaluationReport
from metagym.evaluation.variance import noise_in_words, noise_sources, what_it_buys
from metagym.rendering import plural
from metagym.statistics import Estimate

if TYPE_CHECKING:
    from metagym.evaluation.arena.standings import Standing, Standings
    from metagym.evaluation.transfer import WorldTransfer

EFFECTS: Final = (
    "sp_0: the first prompt; chosen: the best on the validation tasks; gain: chosen minus sp_0, on the test tasks",
    "optimism: validation minus test score of the chosen prompt; regressed: share of reflections with a lower score",
    "replay, transfer: mean change by a reflection, on the tasks just played and on others; gap: replay minus transfer",
)
"""The meaning of a report's columns."""
REACH: Final = (
    "sign flip: p of the exact sign-flip test; detectable: the difference that would be found with 80 % power",
    "dropped: scores left out of all arms, because one of them is missing (and the difference in the worst cases)",
)
"""The meaning of a comparison's columns."""
NOISE: Final = (
    "share: of the variance of the mean gain on new tasks; as much again: the same cost, spent a second time",
    "these tasks, new tasks: half the expected 95 % interval of the gain",
)
"""The meaning of the columns on noise."""
_OPEN: Final[dict[str, Any]] = {"box": SIMPLE, "show_edge": False, "collapse_padding": True}  # the narrowest


def report_lines(report: EvaluationReport) -> list[RenderableType]:
    """Return a report in a few lines: the verdict, the test scores, the sources of noise, and the notes."""
    overall = report.overall
    tests = {"sp_0": overall.test_first, "chosen": overall.test_chosen, "last": overall.test_last}
    scores = ", ".join(f"{name} {mean_text(estimate)}" for name, estimate in tests.items())
    scores = scores.replace("sp_0", "sp_0 (the first prompt)", 1)
    size = f"{plural(len(report.families), 'family')}, {plural(report.num_seeds, 'seed')}"
    lines = (f"verdict: {report.verdict}", f"{report.arm}, test scores: {scores} ({size})")
    return [*map(Text, [*lines, *filter(None, [noise_in_words(report)]), *report.notes])]


def report_tables(report: EvaluationReport) -> list[RenderableType]:
    """Return a report as its verdict, two tables (one row a family and one for all), and its curves in lines."""
    # Two tables rather than one: 80 columns hold both, and a number that is cut off is worthless.
    scores = _table(
        "family", "sp_0", "chosen", "last", "gain [95 %]",
        title=f"{report.arm}: test scores, {plural(report.num_seeds, 'seed')}",
    )  # fmt: skip
    effects = _table("family", "optimism", "replay", "transfer", "gap [95 %]", "regressed")
    gains = {**report.over_families("gain"), "all": report.overall.gain}
    gaps = {**report.over_families("memorisation_gap"), "all": report.overall.memorisation_gap}
    for name, figures in [*report.families.items(), ("all", report.overall)]:
        is_last_family = name in list(report.families)[-1:]
        tests = (figures.test_first, figures.test_chosen, figures.test_last)
        effect = (figures.optimism, figures.replay_gain, figures.fresh_gain)
        scores.add_row(name, *map(mean_text, tests), interval_text(gains[name]), end_section=is_last_family)
        signed = (mean_text(item, "+") for item in effect)
        gap = interval_text(gaps[name], 2)
        effects.add_row(name, *signed, gap, mean_text(figures.regression_rate), end_section=is_last_family)
    tokens = (
        f"{part} {usage.prompt_tokens + usage.completion_tokens:,} in {usage.num_calls:,} calls"
        for part, usage in report.usage.items()
    )
    lines = (
        *EFFECTS,
        *report.notes,
        f"online score per meta-step:  {' '.join(map(mean_text, report.overall.online))}",
        *(
            [f"validation score per prompt: {' '.join(map(mean_text, report.overall.validation))}"]
            if report.config.num_validation
            else []
        ),
        f"invalid actions on the test tasks: {mean_text(report.overall.invalid_action_rate)} under the chosen prompt, "
        f"{mean_text(report.overall.invalid_action_rate_first)} under sp_0",
        "tokens: " + ", ".join(tokens),
        f"gain if looked at after any seed: {interval_text(report.gain_at_any_look)} (seeds taken for normal), "
        f"{interval_text(report.gain_at_any_look_bounded)} (by the bounds of the scores alone)",
    )
    noise = noise_tables(report) if noise_in_words(report) else []
    return [Text(f"verdict: {report.verdict}"), scores, effects, *map(Text, lines), *noise]


def noise_tables(report: EvaluationReport) -> list[RenderableType]:
    """Return the sources of the noise of the gain, and the worth of the same cost, spent again.

    Raises:
        ConfigError: there are fewer than two seeds or tasks.
    """
    sources = _table("the noise of the gain comes from", "variance", "share", num_names=2, **_OPEN)
    for source in noise_sources(report):
        share = None if source.share is None else 100 * source.share
        variance = "not known apart: test_repetitions=2" if source.variance is None else f"{source.variance:.4f}"
        sources.add_row(source.what, variance, "-" if share is None else f"{share:.0f} %")
    bought = _table("as much again", "seeds", "tasks", "repetitions", "episodes", "these tasks", "new tasks", **_OPEN)
    for item in what_it_buys(report):
        sizes = (item.num_seeds, item.num_test, item.test_repetitions, item.num_episodes)
        widths = ("-" if half is None else f"±{half:.3f}" for half in (item.these_tasks, item.new_tasks))
        bought.add_row(item.what, *(f"{size:,}" for size in sizes), *widths)
    return [sources, bought, *map(Text, NOISE)]


def stream_tables(report: StreamReport) -> list[RenderableType]:
    """Return a stream: after each block (row) the test score on the family of each block (column)."""
    blocks = range(len(report.retention))
    table = Table(
        "after block", *(f"family {block + 1}" for block in blocks), "online in the block",
        title=f"{report.arm}: test scores along the stream",
    )  # fmt: skip
    for block, row in enumerate(report.retention):
        steps = report.online[block * report.config.num_steps : (block + 1) * report.config.num_steps]
        online = [step.mean for step in steps if step is not None]
        mean = sum(online) / len(online) if online else None
        table.add_row(str(block + 1), *map(mean_text, row), _number(mean, ".2f"))
    figures = {
        "online score": report.online_mean,
        "sp_0": report.first,
        "at the end": report.final,
        "forgetting": report.forgetting,
    }
    lines = (*report.notes, *(f"{name}: {interval_text(estimate)}" for name, estimate in figures.items()))
    return [table, *map(Text, lines)]


def comparison_lines(comparisons: Sequence[Comparison]) -> list[RenderableType]:
    """Return the verdict of each comparison, in a line."""
    return [Text(f"verdict: {item.verdict}") for item in comparisons]


def comparison_tables(comparisons: Sequence[Comparison]) -> list[RenderableType]:
    """Return comparisons as two tables, one row each, and one table of their families."""
    first = comparisons[0]
    notes = list(dict.fromkeys(note for comparison in comparisons for note in comparison.notes))
    title = Text(f"{first.first} against each: test score of the {first.endpoint} prompt, paired by seed")
    table = _table("against", "difference [95 %]", "p" if len(comparisons) == 1 else "Holm's p", "sign flip")
    reach = _table("against", "on new tasks [95 %]", "detectable", "dropped")
    for item in comparisons:
        dropped = f"{item.num_dropped}"
        if item.num_dropped or item.worst_case[0] < item.worst_case[1]:  # or single repetitions are missing
            dropped += f" ({item.worst_case[0]:+.2f} to {item.worst_case[1]:+.2f})"
        p_value = None if item.difference is None else item.difference.adjusted_p
        table.add_row(item.second, interval_text(item.difference), _p(p_value), _p(item.sign_flip_p))
        reach.add_row(item.second, interval_text(item.new_tasks), _number(item.detectable, ".3f"), dropped)
    gaps: list[RenderableType] = []
    if any(item.gap is not None for item in comparisons):
        memorised = _table("against", "memorisation gap minus its gap [95 %]", "p")
        for item in comparisons:
            p_value = None if item.gap is None else item.gap.adjusted_p or item.gap.p_value
            memorised.add_row(item.second, interval_text(item.gap), _p(p_value))
        gaps = [memorised]
    # Lines, not a column: a terminal of 80 columns would break the sentences into syllables.
    lines = [*map(Text, (*REACH, *notes)), *comparison_lines(comparisons)]
    if len(first.families) < 2:
        return [title, table, reach, *gaps, *lines]
    family_table = _table("against", "family", "difference [95 %]", "Holm's p", num_names=2)
    for item in comparisons:
        for name, family in item.families.items():
            family_table.add_row(item.second, name, interval_text(family.difference), _p(family.adjusted_p))
    return [title, table, reach, *gaps, *lines, family_table]


def transfer_tables(transfer: WorldTransfer, world: str) -> list[RenderableType]:
    """Return the scores on one world of prompts learned on another: one row an arm, the method first."""
    table = _table(
        "arm", "over its sp_0 [95 %]", "Holm's p", "method minus it [95 %]",
        title=f"learned in {', '.join(transfer.learned_in)}; scored in {world}",
    )  # fmt: skip
    for arm, gain in transfer.gains.items():
        p_value = None if gain is None else gain.adjusted_p
        difference = interval_text(transfer.differences[arm]) if arm in transfer.differences else ""
        table.add_row(arm, interval_text(gain), _p(p_value), difference)
    return [table, *map(Text, (*transfer.notes, f"verdict: {transfer.verdict}"))]


def standings_tables(standings: Standings) -> list[RenderableType]:
    """Return the standings of an arena as two tables: scores, and the cost of learning."""
    columns = ("arm", "episodes", "calls", "tokens", "money", "steps", "stopped")
    scores = _table(*score_columns(standings), title=standings_title(standings), **_OPEN)
    effort = _table(*columns, title="the cost of learning", **_OPEN)
    for before, row in zip([None, *standings.rows], standings.rows, strict=False):
        if before is not None and row.is_control and not before.is_control:
            scores.add_section()
            effort.add_section()
        scores.add_row(*score_cells(row))
        effort.add_row(row.arm, *effort_cells(row))
    budget = f"Learning is counted per meta-episode, on average; the budget of each: {budget_text(standings)}."
    return [scores, effort, *map(Text, [budget, *standings.notes])]


def standings_title(standings: Standings) -> str:
    """Return one line on the subject of the standings."""
    title = f"{standings.place}: {plural(standings.num_seeds, 'seed')}, {plural(len(standings.families), 'family')}"
    return f"PLUMBING ONLY. {title}" if standings.scripted else title


def budget_text(standings: Standings) -> str:
    """Return the learning budget in words."""
    limits = standings.budget.model_dump(exclude_none=True)
    return ", ".join(f"{value:,} {'money' if name == 'cost' else name}" for name, value in limits.items())


def score_columns(standings: Standings) -> Sequence[str]:
    """Return the titles of the cells of `score_cells`."""
    return "arm", "rank", "test", "gain", f"minus {standings.baseline} [95 %]", "Holm's p"


def score_cells(row: Standing) -> Sequence[str]:
    """Return the arm, its open ranks, its test score, gain, difference to the baseline, and Holm's p."""
    # The ends of the interval have no plus sign, so that 80 columns hold every cell.
    interval = interval_text(row.against_baseline, 2, sign="")
    arm = f"{row.arm} (no chance)" if row.misses_chance else row.arm
    return arm, rank_text(row), mean_text(row.test), mean_text(row.gain, "+"), interval, _p(row.adjusted_p)


def rank_text(row: Standing) -> str:
    """Return the ranks that are open to an arm, such as `2-5`; a dash if nothing is ranked."""
    if row.ranks is None:
        return "-"
    best, worst = row.ranks
    return f"{best}" if best == worst else f"{best}-{worst}"


def effort_cells(row: Standing) -> Sequence[str]:
    """Return the usage of a meta-episode, its meta-steps, and the number of meta-episodes that ended early."""
    outlay = row.outlay
    money = f"{outlay.cost:.4g}" if outlay.cost else "-"
    stopped = f"{row.num_stopped} of {row.num_meta_episodes}"
    return f"{outlay.episodes:,}", f"{outlay.calls:,}", f"{outlay.tokens:,}", money, f"{row.meta_steps:.1f}", stopped


def interval_text(estimate: Estimate | None, digits: int = 3, *, sign: str = "+") -> str:
    """Return a difference with its interval, whose ends have the `sign`; a dash for None."""
    if estimate is None:
        return "-"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.mean:+.{digits}f} (no interval)"
    return f"{estimate.mean:+.{digits}f} [{estimate.low:{sign}.{digits}f}, {estimate.high:{sign}.{digits}f}]"


def mean_text(estimate: Estimate | None, sign: str = "") -> str:
    """Return a mean with two digits, with `sign` "+" always signed; a dash for None."""
    return _number(None if estimate is None else estimate.mean, f"{sign}.2f")


def _table(*columns: str, num_names: int = 1, **style: Any) -> Table:
    """Make a table whose first columns, names, may break into lines, so that no number is cut off."""
    places = enumerate(columns)
    return Table(*(Column(name, no_wrap=place >= num_names, overflow="fold") for place, name in places), **style)


def _p(value: float | None) -> str:
    return "<0.0001" if value is not None and value < 1e-4 else _number(value, ".4f")


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
