"""The report of an evaluation as HTML for a notebook's output."""

from __future__ import annotations

from metagym.evaluation.report import SCRIPTED_NOTE, EvaluationReport
from metagym.evaluation.tables import interval_text, mean_text
from metagym.notebook import box, fold, table, text
from metagym.rendering import plural


def report_html(report: EvaluationReport) -> str:
    """Return the verdict, the primary endpoint with its interval, and a row for each family."""
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
    missing = f"{report.num_missing} test scores are missing: the apparatus failed" if report.num_missing else ""
    notes = "".join(f"<div>{text(note)}</div>" for note in report.notes if note != SCRIPTED_NOTE)
    verdict = f"<div>{text(report.verdict)}</div><div>Primary endpoint: {gain}</div>"
    return box(
        f"Evaluation of {text(report.arm)}",
        *(verdict, scores, f"<div>{missing}</div>", fold("learning curves over all families", courses), notes),
        scripted=report.scripted,
    )
