"""Run all benchmarks of speed, one after another, and write one table: FOLDER/results.md, results.json, results.svg.

    python benchmarks/run_all.py [--quick] [--out FOLDER] [--peers FOLDER] [--docs]

Under twelve minutes; `--quick` takes two or three, and is a look, no measurement. Each benchmark runs in a process of
its own. If a package is missing, it is left out, with the reason. `--peers` names a folder of virtual
environments for the peers (see engine_overhead.py). `--docs` puts table and plot into
docs/results/performance.md. It exits with 1 if a figure misses its limit.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import Row, machine, note, table

HERE = Path(__file__).parent
BENCHMARKS = {
    "latency": "Heavy-tailed latency: the engine against the no-barrier bound and against lockstep",
    "engine_overhead": "CPU a step: the engine against a bare loop and peers",
    "growth": "Growth with the batch and with the run",
    "parallel": "A CPU-heavy environment over workers and Ray",
    "minihack_speed": "MiniHack against a bare loop over the same game",
    "world_speed": "The other worlds against a bare loop over the same inner environment",
    "alfworld_speed": "ALFWorld: the native engine against TextWorld",
    "tools_speed": "Tools: the right calls of all 200 base tasks of BFCL through the engine",
    "import_time": "Import",
}
NEEDS = {"minihack_speed": "minihack", "tools_speed": "bfcl_eval"}
"""The package that a benchmark needs; other benchmarks report themselves what they leave out."""


def run_one(name: str, arguments: argparse.Namespace) -> list[Row]:
    """Run one benchmark in a process of its own; without rows if it is left out."""
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        note(f"{name} is left out: it needs the package {NEEDS[name]}")
        return []
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "rows.json"
        command = [sys.executable, str(HERE / f"{name}.py"), "--json", str(found)]
        command += ["--quick"] if arguments.quick else []
        command += ["--peers", arguments.peers] if name == "engine_overhead" and arguments.peers else []
        done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
        if done.returncode or not found.exists():
            note(f"{name} failed with {done.returncode}")
            return [Row(f"{name} ran", 0.0, "times", ">= 1")]
        return [Row(**row) for row in json.loads(found.read_text(encoding="utf-8"))["rows"]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("benchmark-results"))
    parser.add_argument("--peers", default="")
    parser.add_argument("--docs", action="store_true")
    arguments = parser.parse_args()
    start, before = time.perf_counter(), machine()
    results: dict[str, list[Row]] = {}
    for name, title in BENCHMARKS.items():
        note(f"{time.perf_counter() - start:6.0f} s  {title}")
        results[name] = run_one(name, arguments)
    seconds = round(time.perf_counter() - start)
    record = {
        "command": "python benchmarks/run_all.py" + (" --quick" if arguments.quick else ""),
        "seconds": seconds,
        "machine": {**before, "load_after": machine()["load"]},
        "benchmarks": {name: [row._asdict() for row in rows] for name, rows in results.items()},
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "results.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (arguments.out / "results.md").write_text(markdown(record, results), encoding="utf-8")
    print(markdown(record, results))
    if importlib.util.find_spec("matplotlib") is None:
        note("No plot: it needs the extra report")
    else:
        plot = [sys.executable, str(HERE / "plot_results.py"), str(arguments.out / "results.json")]
        subprocess.run([*plot, str(arguments.out / "results.svg")], check=True)
    if arguments.docs:
        put_into_docs(arguments.out)
    return int(any(row.verdict == "MISSED" for rows in results.values() for row in rows))


def put_into_docs(folder: Path) -> None:
    """Put the table between the marks of docs/results/performance.md, and the plot beside it."""
    page = HERE.parent / "docs" / "results" / "performance.md"
    head, begin, rest = page.read_text(encoding="utf-8").partition("<!-- results -->\n")
    _, end, tail = rest.partition("<!-- end of results -->")
    table_text = (folder / "results.md").read_text(encoding="utf-8")
    page.write_text(f"{head}{begin}\n{table_text}\n{end}{tail}", encoding="utf-8")
    if (folder / "results.svg").exists():
        shutil.copyfile(folder / "results.svg", page.with_suffix(".svg"))


def markdown(record: dict[str, object], results: dict[str, list[Row]]) -> str:
    """Return the page of results."""
    with_what = record["machine"]
    assert isinstance(with_what, dict)
    packages = ", ".join(f"{name} {number}" for name, number in with_what["packages"].items())
    head = (
        f"`{record['command']}`: {record['seconds']} s on {with_what['cores']} cores, {with_what['system']}, load "
        f"{with_what['load']} before and {with_what['load_after']} after, Python {with_what['python']}; {packages}.\n"
    )
    parts = [f"## {title}\n\n{table(results[name])}\n" for name, title in BENCHMARKS.items() if results[name]]
    return "\n".join([head, *parts])


if __name__ == "__main__":
    sys.exit(main())
