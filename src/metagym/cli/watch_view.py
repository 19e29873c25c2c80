"""The lines of text that `metagym watch` shows: the state for a terminal, and one line per change for a pipe."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from metagym.cli.console import thinned
from metagym.evaluation.report import SCRIPTED_NOTE
from metagym.rendering import plural, visible
from metagym.runs.watching import FamilyCurve, RunState, Watched

BLOCKS, DIGITS = "▁▂▃▄▅▆▇█", "0123456789"
"""A curve's levels, and those for a terminal that knows ASCII only."""
MAX_WIDTH = 40
"""Points of the longest curve; of a longer one the means of neighbours are shown."""
MAX_QUIET = 12
"""The most idle runs that are listed one by one."""
STYLES = {"running": "bold green", "finished": "bold", "stopped": "bold yellow", "unreadable": "bold red"}


def view(seen: Watched, *, ascii_only: bool = False, in_full: bool = True) -> Text:
    """Return the complete state; without `in_full`, one line for each idle run."""
    running = [state for state in seen.runs if in_full or state.status == "running" or len(seen.runs) == 1]
    others = [state for state in seen.runs if state not in running]
    lines = [_brief(state, ascii_only) for state in others[-MAX_QUIET:]]
    if len(others) > MAX_QUIET:
        lines.insert(0, Text(f"{len(others) - MAX_QUIET} more idle runs"))
    if seen.status == "running" and not running:
        lines.append(Text("between two arms: the process is alive, and nothing is being written"))
    for state in running:
        lines += [Text(), *_run_lines(state, ascii_only)] if lines else _run_lines(state, ascii_only)
    if seen.status == "running" and seen.episodes_per_min is not None:
        calls = f", {seen.calls_per_min:,.0f} calls/min" if seen.calls_per_min else ""
        lines.insert(0, Text(f"rate         {seen.episodes_per_min:,.0f} episodes/min{calls}"))
    if any(state.scripted for state in seen.runs):
        lines += [Text(), Text(SCRIPTED_NOTE, style="bold")]
    return Text("\n").join(lines)


def change_lines(before: Watched | None, after: Watched) -> list[str]:
    """Return one plain line for each run that changed in something other than the clock and the calls."""
    then = {state.name: _noteworthy(state) for state in before.runs} if before is not None else {}
    rate = after.episodes_per_min
    return [_line(state, rate) for state in after.runs if then.get(state.name) != _noteworthy(state)]


def sparkline(values: Sequence[float | None], *, ascii_only: bool = False) -> str:
    """Return a score curve as one character a value, from 0 (or the least) to 1 (or the greatest).

    >>> sparkline([0.0, None, 0.5, 1.0], ascii_only=True)
    '0.59'
    """
    values = thinned(values, MAX_WIDTH)
    known = [value for value in values if value is not None]
    low, high = min([0.0, *known]), max([1.0, *known])
    levels, gap = (DIGITS, ".") if ascii_only else (BLOCKS, "·")
    return "".join(
        gap if value is None else levels[min(len(levels) - 1, int((value - low) / (high - low) * len(levels)))]
        for value in values
    )


def _run_lines(state: RunState, ascii_only: bool) -> list[Text]:
    lines = [_head(state)]
    if state.summary is not None:
        lines += [Text(_plain(line)) for line in state.summary.text.split("\n")]
    lines.append(Text(f"progress     {_progress(state)}"))
    spent = state.spent
    if spent.usage.num_calls or spent.num_replayed or spent.num_refused or state.under_way:
        lines.append(Text(f"calls        {_spent(state)}"))
    if state.under_way:
        oldest = sorted(state.under_way, key=lambda call: -call.age_s)
        calls = [f"{_plain(call.role)} {_age(call.age_s)}{' (again)' if call.retry else ''}" for call in oldest[:6]]
        more = f" and {len(oldest) - 6} more" if len(oldest) > 6 else ""
        lines.append(Text(f"waiting for  {len(oldest)} calls under way: {', '.join(calls)}{more}"))
    idle = "not written yet" if state.idle_s is None else f"written {_age(state.idle_s)} ago"
    lines.append(Text(f"last line    {', '.join(filter(None, (idle, _plain(state.phase))))}"))
    for curve in state.curves:  # last, for many families are higher than a terminal, which shows what comes first
        lines += _curve_lines(curve, ascii_only)
    return lines


def _brief(state: RunState, ascii_only: bool) -> Text:
    line = _head(state).append(f"  {_progress(state)}")
    for curve in state.curves:
        line.append(f"  {_plain(curve.family)} {sparkline(curve.online, ascii_only=ascii_only)}")
    return line


def _head(state: RunState) -> Text:
    text = Text(_plain(state.name), style="bold")
    text.append(f"  {_plain(state.environment)}  ", style="not bold")
    text.append(state.status, style=STYLES[state.status])
    return text.append("  SCRIPTED" if state.scripted else "").append(_problem(state), style="red")


def _curve_lines(curve: FamilyCurve, ascii_only: bool) -> list[Text]:
    family = _plain(curve.family)
    lines = []
    for name, values in (("online", curve.online), ("validation", curve.validation)):
        if values:
            label = f"{family} {name}" if family else "score"
            known = [value for value in values if value is not None]
            numbers = f"{known[0]:.2f} to {known[-1]:.2f}" if len(known) > 1 else f"{known[0]:.2f}" if known else "-"
            lines.append(Text(f"{label:<12} {sparkline(values, ascii_only=ascii_only)}  {numbers}"))
    if curve.tests:
        roles = ((role.removeprefix("test ").replace("first", "sp_0"), mean) for role, mean in curve.tests.items())
        lines.append(Text(f"{family} test  {', '.join(f'{role} {mean:.2f}' for role, mean in roles)}"))
    return lines


def _progress(state: RunState) -> str:
    if state.status == "unreadable":
        return ""
    at_most = "at most " if state.kind == "evaluation" else ""
    limit = f" of {at_most}{state.max_episodes:,}" if state.max_episodes else ""
    steps = f"meta-step {state.num_meta_steps} of {state.max_meta_steps}"
    return f"{steps}, {state.num_episodes:,}{limit} episodes, {state.num_failed:,} failed"


def _spent(state: RunState) -> str:
    spent, usage = state.spent, state.spent.usage
    parts = [plural(usage.num_calls, "call"), f"{usage.prompt_tokens + usage.completion_tokens:,} tokens"]
    if spent.max_cost:
        parts.append(f"cost {spent.cost:.4f}")
    names = ("replayed", "retries", "refused", "of unknown outcome")
    numbers = (spent.num_replayed, spent.num_retries, spent.num_refused, spent.num_unknown)
    parts += [f"{number:,} {name}" for number, name in zip(numbers, names, strict=True) if number]
    return ", ".join(parts)


def _line(state: RunState, episodes_per_min: float | None) -> str:
    parts = [f"{_plain(state.name)}: {state.status}", _progress(state)]
    scores = [(curve.family, curve.online[-1]) for curve in state.curves if curve.online]
    parts += [f"{_plain(family) or 'score'} {score:.2f}" for family, score in scores if score is not None]
    if state.spent.usage.num_calls:
        parts.append(_spent(state))
    if episodes_per_min and state.status == "running" and state.max_episodes > state.num_episodes:
        left = _age(60 * (state.max_episodes - state.num_episodes) / episodes_per_min)
        parts.append(f"{'at most ' * (state.kind == 'evaluation')}about {left} left")
    parts += [_plain(state.phase)] * (state.kind != "run") + ["SCRIPTED"] * state.scripted
    return ", ".join(part for part in parts if part) + _problem(state)


def _noteworthy(state: RunState) -> tuple[object, ...]:
    return (state.status, state.num_episodes, state.num_failed, state.num_meta_steps, state.phase, state.problem)


def _problem(state: RunState) -> str:
    return f"  {_plain(state.problem)}" if state.problem else ""


def _plain(text: str) -> str:
    return visible(text, one_line=True)


def _age(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
