"""What the benchmarks share: rows of a table, interleaved runs, the machine, and the files they write."""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

PACKAGES = ("metagym", "gymnasium", "pydantic", "openai", "ray", "nle", "minihack", "alfworld", "textworld")


class Row(NamedTuple):
    """One line of the table: a ratio measured in one run, or a figure."""

    what: str
    value: float
    unit: str = ""
    """Empty for a ratio."""
    limit: str = ""
    """What is asked for, as `<= 1.05`; empty where nothing is."""
    note: str = ""
    series: str = ""
    """Names the curve of the plot that the row is a point of."""
    x: float | None = None

    @property
    def verdict(self) -> str:
        """Return whether the value is within the limit."""
        if not self.limit:
            return ""
        sign, number = self.limit.split()
        holds = self.value <= float(number) if sign == "<=" else self.value >= float(number)
        return "holds" if holds else "MISSED"


def interleaved(contenders: Mapping[str, Callable[[], float]], runs: int) -> dict[str, list[float]]:
    """Let the contenders take turns, so that a busy machine disturbs all of them; return what each gave."""
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(runs):
        for name, run in contenders.items():
            found[name].append(run())
    return found


def median_ratio(found: Mapping[str, Sequence[float]], over: str, under: str) -> float:
    """Return the median of the ratios within the rounds: `over` to `under`."""
    return statistics.median(a / b for a, b in zip(found[over], found[under], strict=True))


def wall_s(act: Callable[[], Any]) -> float:
    """Return the seconds that `act` takes."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def resident_mib() -> float:
    """Return the memory in use now; if the system does not report it, the most that was ever in use."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize() / 2**20
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def machine() -> dict[str, Any]:
    """Return what the figures were measured on, and with."""
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "packages": packages,
    }


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| what | measured | asked for | |", "| --- | ---: | ---: | --- |"]
    for row in rows:
        value = f"{row.value:.3g}" if row.value < 1000 else f"{row.value:,.0f}"
        asked = " ".join(part for part in (row.limit, row.verdict) if part)
        lines.append(f"| {row.what} | {value} {row.unit or 'x'} | {asked} | {row.note} |")
    return "\n".join(lines)


def run(measure: Callable[[argparse.Namespace], list[Row]], doc: str, **options: Any) -> None:
    """Read the command line, measure, print the table, and write it as JSON where that is asked for.

    Each of `options` becomes a `--name` of the type and the default that its value has.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs: a look, no measurement")
    parser.add_argument("--json", type=Path, help="write the rows there, too")
    for name, default in options.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    arguments = parser.parse_args()
    start = time.perf_counter()
    rows = measure(arguments)
    print(table(rows))
    if arguments.json:
        seconds = round(time.perf_counter() - start, 1)
        told = {"machine": machine(), "seconds": seconds, "rows": [row._asdict() for row in rows]}
        arguments.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def ask_python(python: str | Path, code: str, *args: str, timeout_s: float = 300.0) -> str:
    """Return what `code` prints, run by another Python.

    Raises:
        RuntimeError: it failed; the message holds the end of what it said.
    """
    command = [str(python), "-c", code, *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    if done.returncode:
        raise RuntimeError(f"{python} failed: {done.stderr.strip()[-500:]}")
    return done.stdout


def cpu_s() -> float:
    """Return the CPU seconds of this process so far."""
    return time.process_time()


def note(text: str) -> None:
    """Tell the reader something beside the table."""
    print(text, file=sys.stderr)


def print_table(*rows: tuple[Any, ...]) -> None:
    """Print a table in Markdown; the first row is its head."""
    head, *rest = rows
    for row in (head, ["---"] * len(head), *rest):
        print(f"| {' | '.join(map(str, row))} |")
