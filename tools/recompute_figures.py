"""Recompute the figures of an evaluation from its log by plain arithmetic, and compare them with its report.

    python tools/recompute_figures.py RUN [RUN ...]

RUN is the run folder of one arm. Nothing of metagym is imported: lines of `log.jsonl` are read as JSON. The mean of
each figure is computed again, per family and over all, and every curve point. Exit code 1 if one differs.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Key = tuple[str, int, str, int]


def read_measurements(run: Path) -> dict[Key, dict[str, Any]]:
    """Return the last measurement of each key in a log."""
    lines = map(json.loads, (run / "log.jsonl").read_text(encoding="utf-8").splitlines())
    records = (line["record"] for line in lines if line["kind"] == "measurement")
    return {(item["family"], item["seed"], item["role"], item["index"]): item for item in records}


def mean(item: dict[str, Any] | None) -> float:
    """Return the mean of the known scores; NaN without any."""
    known = [score for score in (item or {"scores": []})["scores"] if score is not None]
    return float(np.mean(known)) if known else float("nan")


def minus(one: dict[str, Any] | None, other: dict[str, Any] | None) -> float:
    """Return the mean difference over the tasks with both scores."""
    if one is None or other is None:
        return float("nan")
    scores = dict(zip(other["task_ids"], other["scores"], strict=True))
    pairs = [(a, scores.get(task)) for task, a in zip(one["task_ids"], one["scores"], strict=True)]
    known = [a - b for a, b in pairs if a is not None and b is not None]
    return float(np.mean(known)) if known else float("nan")


def figures_of(get: Callable[..., dict[str, Any] | None], num_steps: int) -> dict[str, float | list[float]]:
    """Return the figures of one family and seed; `get(role, index)` finds a measurement."""
    chosen, first, last = get("test chosen"), get("test first"), get("test last")
    validation = [mean(get("validation", index)) for index in range(num_steps + 1)]
    online = [mean(get("online", index)) for index in range(num_steps)]
    found: dict[str, float | list[float]] = {
        "gain": minus(chosen, first),
        "last_gain": minus(last, first),
        "test_chosen": mean(chosen),
        "test_first": mean(first),
        "test_last": mean(last),
        "optimism": validation[chosen["index"]] - mean(chosen) if chosen else float("nan"),
        "area": float(np.mean([(a + b) / 2 for a, b in itertools.pairwise(validation)])),
        "online": online,
        "validation": validation,
    }
    replays = [minus(get("replay", index), get("online", index)) for index in range(num_steps)]
    if not np.isnan(replays).all():
        found["replay_gain"] = float(np.nanmean(replays))
    return found


def compare(run: Path) -> tuple[int, list[str]]:
    """Return the number of figures that were compared, and those that differ."""
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    measured = read_measurements(run)
    seeds = sorted({key[1] for key in measured})

    def getter(family: str, seed: int) -> Callable[..., dict[str, Any] | None]:
        def get(role: str, index: int | None = None) -> dict[str, Any] | None:
            found = [item for key, item in measured.items() if key[:3] == (family, seed, role)]
            return next((item for item in found if index in (None, item["index"])), None)

        return get

    rows = {
        family: [figures_of(getter(family, seed), report["config"]["num_steps"]) for seed in seeds]
        for family in report["families"]
    }
    tables = {
        family: {name: np.array([row[name] for row in items]) for name in items[0]} for family, items in rows.items()
    }
    tables["overall"] = {
        name: np.mean([tables[family][name] for family in rows], axis=0) for name in next(iter(tables.values()))
    }
    num, differing = 0, []
    for family, table in tables.items():
        printed = report["overall"] if family == "overall" else report["families"][family]
        for name, values in table.items():
            points = printed[name] if isinstance(printed[name], list) else [printed[name]]
            for place, (point, column) in enumerate(zip(points, np.atleast_2d(values.T), strict=True)):
                known = column[np.isfinite(column)]
                num += 1
                if (point is None) != (known.size == 0) or (point and abs(point["mean"] - known.mean()) > 1e-9):
                    differing.append(
                        f"{run}: {family}, {name}[{place}] is {point and point['mean']}, not {known.mean()}"
                    )
    return num, differing


def main() -> None:
    """Compare every run that is named."""
    total, differing = 0, []
    for name in sys.argv[1:]:
        num, found = compare(Path(name))
        total, differing = total + num, differing + found
    for line in differing:
        print(line)
    print(f"{total} figures recomputed, {len(differing)} differ")
    sys.exit(bool(differing) or not total)


if __name__ == "__main__":
    main()
