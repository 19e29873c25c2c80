"""Rows of the page's tables: figures, comparisons, standings, costs, stop reasons, fingerprints."""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from metagym.budget import Spending
from metagym.errors import ConfigError
from metagym.evaluation.arena import Standings
from metagym.evaluation.comparison import Comparison, compare
from metagym.evaluation.output.tables import effort_cells, rank_text
from metagym.evaluation.variance import noise_in_words, noise_sources, what_it_buys
from metagym.optional_attributes import without_addresses
from metagym.rendering import duration_text, plural
from metagym.report.number_format import format_interval, format_mean, format_number, format_p
from metagym.report.run_reading import Run
from metagym.report.svg import domain_of, whisker
from metagym.runs.summary import summary_of_all
from metagym.types import Usage, digest

_json = functools.partial(json.dumps, indent=2, ensure_ascii=False)
Row = dict[str, Any]
TILES = (
    ("gain", "Gain", "chosen prompt minus sp_0, on test tasks", True),
    ("last_gain", "Last prompt", "its gain, without choosing on validation", True),
    ("optimism", "Optimism", "validation minus test score of the chosen prompt", True),
    ("memorisation_gap", "Memorisation gap", "replay gain minus the gain on fresh tasks", True),
    ("regression_rate", "Regressions", "share of reflections that made it worse", False),
    ("invalid_action_rate", "Invalid actions", "share on test tasks, chosen prompt", False),
)
OPTIONS = {"env_id", "env_options", "reflector", "seed"}


def tiles(run: Run) -> list[Row]:
    """Return the figures that are shown beside the primary endpoint."""
    if run.report is None:
        return []
    tile = ("label", "note", "value", "interval")
    return [
        dict(zip(tile, (label, note, format_mean(found, sign=sign), format_interval(found, sign=sign)), strict=True))
        for name, label, note, sign in TILES
        if (found := getattr(run.report.overall, name)) is not None
    ]


def summary_rows(group: Sequence[Run]) -> list[tuple[str, str]]:
    """Return the players, start, duration and usage of a group, as names and texts."""
    known = [run.summary for run in group if run.summary is not None]
    if not known:
        return []
    found = summary_of_all(known)
    runs = f" ({plural(len(known), 'run')})" if len(known) > 1 else ""
    return [("Actor", found.actor), ("Reflector", found.reflector), ("When", found.when + runs), ("Used", found.used)]


def family_rows(run: Run) -> list[Row]:
    """Return test scores and gains: a row for each family, and one for all of them."""
    if run.report is None:
        return []
    families = [*run.report.families.items(), ("all families", run.report.overall)]
    gains = {**run.report.over_families("gain"), "all families": run.report.overall.gain}
    gaps = {**run.report.over_families("memorisation_gap"), "all families": run.report.overall.memorisation_gap}
    domain = domain_of(list(gains.values()))
    scores = ("test_first", "test_chosen", "test_last", "regression_rate")
    differences = ("gain", "optimism", "replay_gain", "fresh_gain", "memorisation_gap")
    return [
        {
            "name": name,
            "graphic": whisker(gains[name], domain),
            "interval": format_interval(gains[name], sign=True),
            "gap_interval": format_interval(gaps[name], sign=True),
            **{field: format_mean(getattr(figures, field)) for field in scores},
            **{field: format_mean(getattr(figures, field), sign=True) for field in differences},
        }
        for name, figures in families
    ]


def noise_rows(run: Run) -> tuple[list[Row], list[Row]]:
    """Return the sources of the noise of the gain, and the worth of as much cost again; empty if not known."""
    if run.report is None or not noise_in_words(run.report):
        return [], []
    sources = [
        {
            "what": item.what,
            "variance": "not known apart" if item.variance is None else format_number(item.variance, 4),
            "share": "–" if item.share is None else f"{100 * item.share:.0f} %",
        }
        for item in noise_sources(run.report)
    ]
    bought = [
        {
            "what": item.what,
            **_grouped(seeds=item.num_seeds, tasks=item.num_test, repetitions=item.test_repetitions),
            **_grouped(episodes=item.num_episodes),
            "these_tasks": f"±{format_number(item.these_tasks, 3)}",
            "new_tasks": f"±{format_number(item.new_tasks, 3)}",
        }
        for item in what_it_buys(run.report)
    ]
    return sources, bought


def comparison_rows(group: Sequence[Run]) -> tuple[list[Row], str, list[str]]:
    """Return the paired differences of the first run to each other run, why there may be no difference, and notes."""
    reports = [run.report for run in group if run.report is not None]
    if len(reports) < 2 or group[0].report is None:
        return [], "", []
    try:
        comparisons = compare(reports)
    except ConfigError as error:
        return [], str(error), []
    floors = [item for item in comparisons if item.second_kind == "same again" and not item.second_misses_chance]
    noise = floors[0].difference if floors else None
    domain = domain_of([item.difference for item in comparisons])
    names = [run.name for run in group[1:] if run.report is not None]
    rows = [
        {
            "name": name,
            "graphic": whisker(item.difference, domain, noise=noise),
            "difference": format_mean(item.difference, 3, sign=True),
            "interval": format_interval(item.difference, 3, sign=True),
            "p": format_p(None if item.difference is None else item.difference.adjusted_p),
            "sign_flip": format_p(item.sign_flip_p),
            "new_tasks": f"{format_mean(item.new_tasks, 3, sign=True)} {format_interval(item.new_tasks, 3, sign=True)}",
            "detectable": format_number(item.detectable, 3),
            "dropped": _dropped(item),
            "gap": f"{format_mean(item.gap, 3, sign=True)} {format_interval(item.gap, 3, sign=True)}",
            "verdict": item.verdict,
            "has_floor": noise is not None,
        }
        for name, item in zip(names, comparisons, strict=True)
    ]
    return rows, "", list(dict.fromkeys(note for item in comparisons for note in item.notes))


def _dropped(item: Comparison) -> str:
    low, high = (format_number(end, sign=True) for end in item.worst_case)
    return f"{item.num_dropped} ({low} to {high})" if item.num_dropped or low != high else "0"


def standings_rows(standings: Standings) -> list[dict[str, Any]]:
    """Return the rows of the table: the methods, then the controls."""
    domain = domain_of([row.against_baseline for row in standings.rows])
    return [
        {
            "name": row.arm,
            "is_control": row.is_control,
            "test": format_mean(row.test),
            "gain": format_mean(row.gain, sign=True),
            "rank": rank_text(row),
            "graphic": whisker(row.against_baseline, domain),
            "difference": format_mean(row.against_baseline, sign=True),
            "interval": format_interval(row.against_baseline),
            "p": format_p(row.adjusted_p),
            "effort": effort_cells(row),
        }
        for row in standings.rows
    ]


def cost_rows(run: Run) -> list[Row]:
    """Return the usage of model calls, by role and purpose; if no call was logged, the tokens in the records."""
    sums: dict[str, Spending] = {}
    for (role, purpose, _), spending in run.spending.items():
        name = f"{role}, {purpose}"
        sums[name] = sums.get(name, Spending()) + spending
    if sums:
        return [_cost_row(name, spending) for name, spending in sums.items()]
    if run.report is not None:
        usages = run.report.usage
    else:
        completions = [reflection.completion for reflection in run.reflections.values()]
        usages = {
            "actor": sum((item.usage for step in run.history for item in step.trajectories), Usage()),
            "reflector": sum((item.usage for item in completions if item), Usage()),
        }
    return [_token_row(name, usage) for name, usage in usages.items() if usage.num_calls]


def _token_row(name: str, usage: Usage) -> Row:
    fields = {"calls": usage.num_calls, "prompt": usage.prompt_tokens, "cached": usage.cached_tokens}
    return {"name": name, **_grouped(**fields, completion=usage.completion_tokens)}


def _cost_row(name: str, spending: Spending) -> Row:
    cost = f"{spending.cost:,.4g}" + (f" + up to {spending.unknown_cost:,.4g}" if spending.unknown_cost else "")
    return {
        **_token_row(name, spending.usage),
        "cost": cost if spending.cost or spending.unknown_cost else "–",
        "time": duration_text(spending.working_s),
        "time_a_call": duration_text(spending.working_s / calls) if (calls := spending.usage.num_calls) else "–",
        "waiting": duration_text(spending.waiting_s),
        **_grouped(retries=spending.num_retries, refused=spending.num_refused),
        **_grouped(unknown=spending.num_unknown, replayed=spending.num_replayed),
    }


def _grouped(**counts: int) -> Row:
    return {name: f"{count:,}" for name, count in counts.items()}


def ending_rows(run: Run) -> list[Row]:
    """Return the stop reasons of the episodes in the report with their outcomes, the commonest first."""
    counted = Counter((item.stop_reason.value, item.success) for item in run.episodes)
    total = sum(counted.values())
    words = {True: "success", False: "failure", None: "no verdict"}
    return [
        {
            "reason": reason,
            "outcome": "not counted" if reason == "error" else words[success],
            "count": f"{count:,}",
            "bar": round(100 * count / total, 1),
        }
        for (reason, success), count in counted.most_common()
    ]


def error_rows(group: Sequence[Run]) -> list[Row]:
    """Return the infrastructure errors of all recorded episodes of the group, the commonest first."""
    counted: Counter[str] = sum((run.errors for run in group), Counter())
    return [{"error": error, "count": f"{count:,}"} for error, count in counted.most_common(8)]


def totals(run: Run) -> Row:
    """Return the counts of a run, over all of its records."""
    if run.measurements:
        counts = [
            (item.num_steps, item.num_invalid, sum(score is None for score in item.scores)) for item in run.measurements
        ]
    else:
        played = [item for step in run.history for item in step.trajectories] or run.episodes
        counts = [(len(item.steps), item.num_invalid, item.score is None) for item in played]
    steps, invalid, failed = (sum(count[place] for count in counts) for place in range(3))
    return {
        "name": run.name,
        "invalid": f"{100 * invalid / steps:.1f} %" if steps else "–",
        **_grouped(episodes=run.num_episodes, shown=len(run.episodes), steps=steps, failed=failed),
    }


def fingerprints(group: Sequence[Run]) -> list[Row]:
    """Return both fingerprints of each run: of the measurement, which must match, and of the arm."""
    return [
        {
            "name": run.name,
            "path": str(run.path),
            "measurement": digest(without_addresses(run.manifest.measurement)),
            "arm": digest(without_addresses(run.manifest.arm)),
            "measurement_json": _json(run.manifest.measurement),
            "arm_json": _json(run.manifest.arm),
            "options_json": _json(run.manifest.model_dump(mode="json", include=OPTIONS)),
        }
        for run in group
        if run.manifest is not None
    ]
