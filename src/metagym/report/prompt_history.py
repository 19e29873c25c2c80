"""Collect the prompts of each meta-episode: the changed words, the reasons, and the score of each prompt."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from itertools import groupby
from typing import Any, Literal

from metagym.evaluation.gains import MeasurementTable
from metagym.report.run_reading import Run
from metagym.runs import Role
from metagym.tools import changed_parts
from metagym.types import Reflection

Change = tuple[Literal["=", "-", "+"], str]
"""(kept, removed or added; the text)"""
ScoredPrompt = tuple[str, Reflection | None, dict[str, Any]]
"""(prompt, the reflection that wrote it, its scores)"""
MAX_CELLS = 4_000_000
"""Texts with more pairs of lines, or of words, than this are not compared: one replaces the other."""


def histories(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return one JSON mapping for each meta-episode of each run: its name, and a row for each prompt."""
    return [history for number, run in enumerate(runs) for history in _of_run(number, run)]


def word_diff(old: str, new: str) -> list[Change]:
    """Return the changes from `old` to `new`: kept and removed texts give `old`, kept and added texts give `new`."""
    pairs: list[tuple[str, str]] = []
    for before, after in _aligned(old.splitlines(keepends=True), new.splitlines(keepends=True)):
        words = [re.findall(r"\s+|\w+|[^\w\s]", text) for text in (before, after)]
        pairs += [(before, after)] if before == after else _aligned(*words)
    is_change = [before != after for before, after in pairs]
    for index in range(1, len(pairs) - 1):
        text = pairs[index][0]
        if text.isspace() and "\n" not in text and is_change[index - 1] and is_change[index + 1]:
            is_change[index] = True  # a space between two changes belongs to them
    changes: list[Change] = []
    for changed, group in groupby(zip(is_change, pairs, strict=True), key=lambda item: item[0]):
        before, after = ("".join(texts) for texts in zip(*(pair for _, pair in group), strict=True))
        changes += [("-", before), ("+", after)] if changed else [("=", before)]
    return [change for change in changes if change[1]]


def _aligned(old: Sequence[str], new: Sequence[str]) -> list[tuple[str, str]]:
    """Return the parts of both texts that correspond, in order: equal ones, and ones that differ."""
    if len(old) * len(new) > MAX_CELLS:
        return [("".join(old), "".join(new))]
    parts = SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    return [("".join(old[a:b]), "".join(new[c:d])) for _, a, b, c, d in parts]


def _of_run(number: int, run: Run) -> list[dict[str, Any]]:
    if run.kind == "meta-episode" and run.history:
        prompts: list[ScoredPrompt] = [
            (step.prompt, step.reflection, {"score": step.reward, "failed": step.num_failed}) for step in run.history
        ]
        if (last := run.reflections.get(("", run.history[-1].index))) is not None:
            prompts.append((last.prompt, last, {"score": None, "played": False}))
        return [{"run": number, "family": "", "seed": None, "rows": _rows(prompts)}]
    if run.kind != "evaluation":
        return []
    table = MeasurementTable(run.measurements)
    return [
        {"run": number, "family": family, "seed": seed, "rows": rows}
        for family in table.families
        for seed in table.seeds
        if (rows := _rows(_evaluated(run, table, family, seed)))
    ]


def _evaluated(run: Run, table: MeasurementTable, family: str, seed: int) -> Iterator[ScoredPrompt]:
    chosen = table.get(family, seed, Role.TEST_CHOSEN)
    num_steps = 0 if run.report is None else run.report.config.num_steps
    for index in range(num_steps + 1):
        online = table.get(family, seed, Role.ONLINE, index)
        validation = table.get(family, seed, Role.VALIDATION, index)
        reflection = run.reflections.get((f"{run.arm}/{family}/{seed}", index - 1))
        known = validation or online or reflection  # without validation, no measurement names the last prompt
        if known is None:
            break
        score = {
            "score": None if validation is None else validation.mean,
            "online": None if online is None else online.mean,
            "failed": sum(score is None for item in (online, validation) if item for score in item.scores),
            "chosen": chosen is not None and chosen.index == index,
        }
        yield known.prompt, reflection, score


def _rows(prompts: Iterable[ScoredPrompt]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for prompt, reflection, score in prompts:
        row: dict[str, Any] = {"prompt": prompt, **score}
        if rows:
            row["changes"] = word_diff(rows[-1]["prompt"], prompt)
            parts = changed_parts(rows[-1]["prompt"], prompt)
            if any(name.startswith("Tool: ") for name in parts):
                row["parts"] = parts
        if reflection is not None:
            row |= {"analysis": reflection.analysis, "problem": reflection.problem, "scripted": reflection.scripted}
            if reflection.completion is not None:
                row["completion"] = reflection.completion.text
        rows.append(row)
    return rows
