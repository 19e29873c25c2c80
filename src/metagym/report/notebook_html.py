"""Draw records as HTML for a notebook: self-contained, escaped, without scripts, in the colours of the notebook."""

from __future__ import annotations

import html
from collections.abc import Sequence

from metagym.evaluation.output.tables import interval_text, mean_text
from metagym.evaluation.report import SCRIPTED_NOTE, EvaluationReport
from metagym.rendering import plural, visible
from metagym.report.number_format import format_number
from metagym.types import MetaStep, Record, Step, Trajectory

MAX_ROWS = 100
"""The middle of a longer table is left out."""
MAX_LINE = 200
"""A row shows this number of characters of an observation; the rest is folded."""
MAX_CHARS = 4_000
"""The middle of a longer text is left out."""

# Half-transparent grey and the inherited colour can be read on a light page and on a dark one.
_LINE = "1px solid rgba(128,128,128,.5)"
_BOX = f"border:{_LINE};border-radius:4px;padding:.5em .8em;margin:.3em 0;overflow-x:auto;max-width:100%"
_CELL = f"border-bottom:{_LINE};padding:.15em .6em;text-align:left;vertical-align:top;unicode-bidi:isolate"
_TEXT = "margin:.2em 0;color:inherit;background:none;font-size:90%;word-break:normal"
_MARK = "border:1px solid currentColor;border-radius:3px;padding:0 .3em;font-weight:bold;font-size:80%"


def html_of(record: Record) -> str | None:
    """Return a trajectory, a meta-step or an evaluation's report as HTML; None for any other record."""
    if isinstance(record, Trajectory):
        return _trajectory_html(record)
    if isinstance(record, MetaStep):
        return _meta_step_html(record)
    return _evaluation_html(record) if isinstance(record, EvaluationReport) else None


def text(value: object) -> str:
    """Return `value` as escaped text without markup; invisible characters get a sign."""
    plain = str(value)
    if len(plain) > MAX_CHARS:
        half = MAX_CHARS // 2
        plain = f"{plain[:half]} [... {len(plain) - 2 * half:,} characters left out ...] {plain[-half:]}"
    return html.escape(visible(plain))


def block(value: str) -> str:
    """Return text with its line breaks. Several short lines, such as a map, keep their columns; a long line wraps."""
    space = "pre" if value.count("\n") > 1 and max(map(len, value.splitlines())) <= MAX_LINE else "pre-wrap"
    return f'<pre style="{_TEXT};white-space:{space};overflow-wrap:anywhere;overflow-x:auto">{text(value)}</pre>'


def fold(summary: str, body: str) -> str:
    """Return `body`, hidden until its summary is clicked; both are HTML."""
    return f'<details><summary style="cursor:pointer">{summary}</summary>{body}</details>'


def mark(word: str) -> str:
    """Return a word in a frame."""
    return f'<span style="{_MARK}">{text(word)}</span>'


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table; its cells are numbers or HTML."""
    if len(rows) > MAX_ROWS:
        half = MAX_ROWS // 2
        gap = [f"<i>{len(rows) - 2 * half:,} rows left out</i>", *[""] * (len(columns) - 1)]
        rows = [*rows[:half], gap, *rows[-half:]]
    head = "".join(f'<th scope="col" style="{_CELL}">{text(name)}</th>' for name in columns)
    body = "".join("<tr>" + "".join(f'<td style="{_CELL}">{cell}</td>' for cell in row) + "</tr>" for row in rows)
    style = "border-collapse:collapse;margin:.3em 0;color:inherit"
    return f'<table style="{style}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def box(title: str, *parts: str, scripted: bool = False) -> str:
    """Return the whole output: a title and its parts, all HTML."""
    stamp = f" {mark('SCRIPTED')} a script played: this shows nothing about language models" if scripted else ""
    return f'<div style="{_BOX}"><div><b>{title}</b>{stamp}</div>{"".join(parts)}</div>'


def _meta_step_html(meta_step: MetaStep) -> str:
    failed = f", {meta_step.num_failed} failed" if meta_step.num_failed else ""
    title = f"Meta-step {meta_step.index}: reward {format_number(meta_step.reward)}"
    prompt = fold(f"prompt, {len(meta_step.prompt):,} characters", block(meta_step.prompt))
    reflection = meta_step.reflection
    analysis = fold("analysis that led to it", block(reflection.analysis)) if reflection and reflection.analysis else ""
    rows = [
        (place, text(item.task.family), format_number(item.score), len(item.steps), item.num_invalid, _ending(item))
        for place, item in enumerate(meta_step.trajectories)
    ]
    episodes = table(("episode", "family", "score", "steps", "invalid", "ended by"), rows)
    title = f"{title} over {len(meta_step.trajectories)} episodes{failed}"
    return box(title, prompt, analysis, episodes, scripted=meta_step.scripted)


def _trajectory_html(trajectory: Trajectory) -> str:
    task, steps = trajectory.task, trajectory.steps
    title = f"Episode on {text(task.id)} ({text(task.family)}): score {format_number(trajectory.score)}"
    first = steps[0].observation if steps else trajectory.final_observation
    goal = f"<div>Goal: {text(first.goal)}</div>" if first is not None and first.goal else ""
    rows: list[Sequence[object]] = [_step_row(place, step) for place, step in enumerate(steps, start=1)]
    if (end := trajectory.final_observation) is not None:
        rows.append(("end", text(end.feedback), "", "", _seen(end.text)))
    played = table(("step", "action", "executed", "reward", "seen before it"), rows)
    prompt = fold("prompt", block(trajectory.episode.prompt))
    return box(title, f"<div>{_ending(trajectory)}</div>", goal, prompt, played, scripted=trajectory.scripted)


def _step_row(place: int, step: Step) -> tuple[str, ...]:
    action = step.action
    said = text(action.text) if action.text is not None else "<i>no action was found</i>"
    thought = fold("<i>why</i>", block(action.thought)) if action.thought else ""
    executed = text(step.command) if step.command is not None else "-"
    if not step.is_valid:
        executed = f"{mark('invalid')} {executed} {text(action.problem)}"
    return str(place), said + thought, executed, f"{step.reward:g}", _seen(step.observation.text)


def _seen(observation: str) -> str:
    """Return a short observation as it is; of a long one the first line, with the whole text folded."""
    lines = observation.strip().splitlines() or ["(nothing)"]
    if len(lines) == 1 and len(lines[0]) <= MAX_LINE:
        return text(lines[0])
    cut = f"{lines[0][:MAX_LINE]}..." if len(lines[0]) > MAX_LINE else lines[0]
    return fold(text(cut), block(observation))


def _ending(trajectory: Trajectory) -> str:
    success = {True: "success, ", False: "no success, ", None: ""}[trajectory.success]
    detail = trajectory.error or trajectory.stop_detail
    return text(f"{success}{trajectory.stop_reason.value}" + (f": {detail}" if detail else ""))


def _evaluation_html(report: EvaluationReport) -> str:
    overall = report.overall
    counts = f"{plural(report.num_seeds, 'seed')} and {plural(len(report.families), 'family')}"
    gain = f"gain {interval_text(overall.gain)} over {counts}"
    rows = [
        (
            text(name),
            *(mean_text(item) for item in (figures.test_first, figures.test_chosen, figures.test_last)),
            interval_text(figures.gain),
            mean_text(figures.optimism, "+"),
        )
        for name, figures in [*report.families.items(), ("all", overall)]
    ]
    scores = table(("family", "sp_0", "chosen", "last", "gain [95 %]", "optimism"), rows)
    curves = (("online, per meta-step", overall.online), ("validation, per prompt", overall.validation))
    courses = table(("score", "course"), [(name, " ".join(map(mean_text, curve))) for name, curve in curves])
    notes = "".join(f"<div>{text(note)}</div>" for note in report.notes if note != SCRIPTED_NOTE)
    verdict = f"<div>{text(report.verdict)}</div><div>Primary endpoint: {gain}</div>"
    curves_html = fold("learning curves over all families", courses)
    title = f"Evaluation of {text(report.arm)}"
    return box(title, verdict, scores, curves_html, notes, scripted=report.scripted)
