"""Choose the curves that a group of runs shows: the first run with its intervals, the controls as a band behind it."""

from __future__ import annotations

from collections.abc import Sequence

from metagym.evaluation.output.panels import axis_of, curve_panel
from metagym.report.charts import Panel
from metagym.report.run_reading import Run
from metagym.statistics import Estimate
from metagym.types import MetaStep

MAX_PANELS = 24


def panels_of(group: Sequence[Run]) -> list[Panel]:
    """Return the panels of a group: all families together first, then each family."""
    run = group[0]
    if run.report is not None:
        families = list(run.report.families)
        names = [None, *families] if len(families) > 1 else [None]
        return [_evaluation_panel(group, name, families) for name in names[:MAX_PANELS]]
    if run.stream is not None:
        low, high = run.stream.config.score_range
        return [Panel("online score along the stream", run.stream.online, (low, high), axis="meta-step")]
    return _meta_episode_panels(run.history)[:MAX_PANELS] if run.history else []


def _evaluation_panel(group: Sequence[Run], family: str | None, families: Sequence[str]) -> Panel:
    evaluated = [(item.report, item.name) for item in group if item.report is not None]
    data = curve_panel([report for report, _ in evaluated], [name for _, name in evaluated], family)
    main, *others = data.lines
    title = "All families" if family is None else family
    return Panel(
        title=families[0] if family is None and len(families) == 1 else title,
        line=main.curve,
        score_range=data.score_range,
        band=data.band,
        again=next((item.curve for item in others if item.kind == "same again"), ()),
        others=[(item.label, item.curve) for item in others if item.kind not in ("same again", "null control")],
        online=main.figures.online,
        test=main.figures.test_chosen,
    )


def _meta_episode_panels(history: Sequence[MetaStep]) -> list[Panel]:
    families = list(dict.fromkeys(item.task.family for meta_step in history for item in meta_step.trajectories))
    score_range = axis_of(item.score for meta_step in history for item in meta_step.trajectories)

    def panel(title: str, shown: set[str]) -> Panel:
        batches = [
            [item.score for item in step.trajectories if item.score is not None and item.task.family in shown]
            for step in history
        ]
        # One meta-episode is one replicate, so that there is no interval.
        line = [Estimate(mean=sum(batch) / len(batch), num=1) if batch else None for batch in batches]
        return Panel(title, line, score_range, dots=batches, axis="meta-step")

    if len(families) < 2:
        return [panel("".join(families), set(families))]
    return [panel("All families", set(families)), *(panel(name, {name}) for name in families)]
