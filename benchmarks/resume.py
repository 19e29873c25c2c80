"""How long it takes to resume an evaluation of 10,000 finished episodes: read the log, check it, report.

python benchmarks/resume.py [--episodes 10000]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from metagym.envs.gates.meta import GatesMetaEnv
from metagym.evaluation import EvaluationConfig, evaluate
from metagym.evaluation.store import read_report
from metagym.runs import LOG, RunFolder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=10_000)
    arguments = parser.parse_args()
    config = EvaluationConfig(
        families=("law-0007", "law-0500"), num_steps=5, num_validation=25, num_test=100, replay=False,
        num_seeds=max(1, round(arguments.episodes / (2 * (25 + 100 + 300)))),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, GatesMetaEnv("demo") as env:
        path = Path(folder)
        start = time.perf_counter()
        evaluate(env, "demo", config=config, path=path)
        played_s = time.perf_counter() - start
        start = time.perf_counter()
        evaluate(env, "demo", config=config, path=path)
        resumed_s = time.perf_counter() - start
        # Killed shortly before its end: all that was scored last has to be taken from the episodes again.
        log = path / LOG
        lines = log.read_bytes().splitlines(keepends=True)
        log.write_bytes(b"".join(line for line in lines if not line.startswith(b'{"kind":"measurement"')))
        start = time.perf_counter()
        evaluate(env, "demo", config=config, path=path)
        recalled_s = time.perf_counter() - start
        start = time.perf_counter()
        read_report(path)
        read_s = time.perf_counter() - start
        with RunFolder.open(path) as run:
            print(f"{run.num_episodes} episodes, {log.stat().st_size / 1e6:.0f} MB. SCRIPTED: a script played.")
    print(f"played {played_s:.2f} s, resumed {resumed_s:.2f} s, resumed without measurements {recalled_s:.2f} s, "
          f"read {read_s:.2f} s")  # fmt: skip


if __name__ == "__main__":
    main()
