"""Recompute the figures of an evaluation from its log by plain arithmetic, and compare them with its report.

    python tools/recompute_figures.py RUN [RUN ...]

RUN is the run folder of one arm. Nothing of metagym is imported: lines of `log.jsonl` are read as JSON. The mean of
each figure is computed again, per family and over all, and every curve point. Exit code 1 if one differs.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
from collections.abc import Callable, Iterable
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
    return mean_of_known((item or {"scores": []})["scores"])


def mean_of_known(values: Iterable[float | None]) -> float:
    """Return the mean of the values that are no None and no NaN; NaN without any."""
    known = [value for value in values if value is not None and not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def minus(one: dict[str, Any] | None, other: dict[str, Any] | None) -> float:
    """Return the mean difference over the tasks with both scores; the repetitions of a task are averaged first."""
    if one is None or other is None:
        return math.nan
    ours, theirs = by_task(one), by_task(other)
    return mean_of_known(ours[task] - theirs[task] for task in ours if task in theirs)


def by_task(item: dict[str, Any]) -> dict[str, float]:
    """Return the mean score of each task."""
    scores: dict[str, list[float | None]] = {}
    for task, score in zip(item["task_ids"], item["scores"], strict=True):
        scores.setdefault(task, []).append(score)
    return {task: mean_of_known(found) for task, found in scores.items()}


def invalid_rate(item: dict[str, Any] | None) -> float:
    """Return the share of invalid actions."""
    return item["num_invalid"] / item["num_steps"] if item and item["num_steps"] else math.nan


def figures_of(get: Callable[..., dict[str, Any] | None], num_steps: int) -> dict[str, float | list[float]]:
    """Return the figures of one family and seed; `get(role, index)` finds a measurement."""
    steps = range(num_steps)
    chosen, first, last = get("test chosen"), get("test first"), get("test last")
    validation = [mean(get("validation", index)) for index in range(num_steps + 1)]
    changes = [minus(get("validation", index + 1), get("validation", index)) for index in steps]
    online = [mean(get("online", index)) for index in steps]
    replay = mean_of_known(minus(get("replay", index), get("online", index)) for index in steps)
    kinds = mean_of_known(minus(get("seen kinds after", index), get("seen kinds before", index)) for index in steps)
    transfer = mean_of_known(changes)
    return {
        "gain": minus(chosen, first),
        "last_gain": minus(last, first),
        "test_chosen": mean(chosen),
        "test_first": mean(first),
        "test_last": mean(last),
        "optimism": validation[chosen["index"]] - mean(chosen) if chosen else math.nan,
        "replay_gain": replay,
        "transfer_gain": transfer,
        "kinds_gain": kinds,
        "memorisation_gap": replay - (transfer if math.isnan(kinds) else kinds),
        "area": float(np.mean([(a + b) / 2 for a, b in itertools.pairwise(validation)])),
        "regression_rate": mean_of_known(float(change < 0) for change in changes if not math.isnan(change)),
        "invalid_action_rate": invalid_rate(chosen),
        "invalid_action_rate_first": invalid_rate(first),
        "online": online,
        "online_cumulative": [float(np.mean(online[: index + 1])) for index in steps],
        "validation": validation,
    }


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
