"""What `import metagym` costs, in a fresh interpreter, beside the import of gymnasium alone.

python benchmarks/import_time.py [--quick] [--runs 7]
"""

from __future__ import annotations

import argparse
import statistics
import sys

from measuring import Row, ask_python, interleaved, median_ratio, run

CODE = "import sys, time; start = time.perf_counter(); __import__(sys.argv[1]); print(time.perf_counter() - start)"
EXTRAS = ("torch", "ray", "nle", "minihack", "textworld", "alfworld", "matplotlib", "openai")


def measure(arguments: argparse.Namespace) -> list[Row]:
    contenders = {
        name: lambda name=name: float(ask_python(sys.executable, CODE, name)) for name in ("metagym", "gymnasium")
    }
    interleaved(contenders, 1)  # byte code is written
    found = interleaved(contenders, 2 if arguments.quick else arguments.runs)
    seen = ask_python(sys.executable, f"import sys, metagym; print(*(set({EXTRAS!r}) & set(sys.modules)))").split()
    return [
        Row("import metagym", statistics.median(found["metagym"]), "s", "<= 0.3"),
        Row("import metagym / import gymnasium", median_ratio(found, "metagym", "gymnasium")),
        Row("extras that it imports", len(seen), "packages", "<= 0", " ".join(seen)),
    ]


if __name__ == "__main__":
    run(measure, __doc__, runs=7)
