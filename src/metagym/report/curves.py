"""Which curves a group of runs shows: the first run with its intervals, the controls as a band behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from metagym.evaluation.figures import Figures
from metagym.report.charts import Curve, Panel
from metagym.report.sources import Run
from metagym.report.words import is_control
from metagym.statistics import Estimate
from metagym.types import MetaStep

MAX_PANELS = 24


def panels_of(group: Sequence[Run]) -> list[Panel]:
    """Return the small multiples of a group: all families first, then each."""
    run = group[0]
    if run.report is not None:
        families = list(run.report.families)
        names = [None, *families] if len(families) > 1 else [None]
        return [_evaluated(group, name, families) for name in names[:MAX_PANELS]]
    if run.stream is not None:
        low, high = run.stream.config.score_range
        return [Panel("online score along the stream", run.stream.online, (low, high), axis="meta-step")]
    return _single(run.history)[:MAX_PANELS] if run.history else []


def _evaluated(group: Sequence[Run], family: str | None, families: Sequence[str]) -> Panel:
    run = group[0]
    assert run.report is not None
    figures = _figures(run, family)
    assert figures is not None
    controls = [item for item in group[1:] if item.arm_kind == "null control"]
    others = [item for item in group[1:] if not is_control(item)]
    again = next(
        (found for item in group[1:] if item.arm_kind == "same again" and (found := _figures(item, family))), None
    )
    title = "All families" if family is None else family
    return Panel(
        title=families[0] if family is None and len(families) == 1 else title,
        line=figures.validation,
        score_range=run.report.config.score_range,
        band=_band([found for item in controls if (found := _figures(item, family))]),
        again=() if again is None else again.validation,
        others=[(item.name, found.validation) for item in others if (found := _figures(item, family))],
        online=figures.online,
        test=figures.test_chosen,
    )


def _figures(run: Run, family: str | None) -> Figures | None:
    if run.report is None:
        return None
    return run.report.overall if family is None else run.report.families.get(family)


def _band(controls: Sequence[Figures]) -> list[tuple[float, float] | None]:
    """Return per prompt the lowest and the highest end of the null controls' intervals."""
    length = max((len(figures.validation) for figures in controls), default=0)
    band: list[tuple[float, float] | None] = []
    for index in range(length):
        known = [item for figures in controls if (item := figures.validation[index]) is not None]
        ends = [end for item in known for end in (item.mean, item.low, item.high) if end is not None]
        band.append((min(ends), max(ends)) if ends else None)
    return band


def _single(history: Sequence[MetaStep]) -> list[Panel]:
    families = list(dict.fromkeys(item.task.family for meta_step in history for item in meta_step.trajectories))
    panels = [_course("All families" if len(families) > 1 else "".join(families), history, lambda family: True)]
    if len(families) > 1:
        panels += [_course(name, history, name.__eq__) for name in families]
    scores = [score for panel in panels for batch in panel.dots for score in batch]
    low, high = min([0.0, *scores]), max([1.0, *scores])
    return [Panel(p.title, p.line, (low, high), dots=p.dots, axis="meta-step") for p in panels]


def _course(title: str, history: Sequence[MetaStep], is_shown: Callable[[str], object]) -> Panel:
    """Return the batch means of a single meta-episode: one replicate, so that there is no interval."""
    batches = [
        [item.score for item in step.trajectories if item.score is not None and is_shown(item.task.family) is True]
        for step in history
    ]
    line: Curve = [Estimate(mean=sum(batch) / len(batch), num=1) if batch else None for batch in batches]
    return Panel(title, line, dots=batches)
