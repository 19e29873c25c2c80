"""Kill `run`, `evaluate` and `arena` at random moments, resume them, and hold the result against an uninterrupted one.

Each command plays Gates with a model on a server that is paid: a process of its own, which decides each reply by the
request alone, and counts what it was asked. Signals take turns (KILL, TERM, INT), and so do folders with worker
processes and folders without. It fails if a resumed log or report differs, if a reply was paid for twice that was not
under way at a kill, if a call is not in the books, or if a process outlives the kill by `ORPHAN_S`.

    python benchmarks/kills.py [--kills 180] [--seed 0] [--commands run,evaluate,arena]

`--kills` is the number for each command: with 180, each of the three signals kills it 30 times with worker processes,
and 30 times without.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import metagym
from metagym.testing import FakeOpenAIServer, ServerReply, ServerRequest

COMMANDS = ("run", "evaluate", "arena")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
WORKERS = (2, 0)
ORPHAN_S = 10.0
LIMIT_S = 300.0
"""For a command that plays to its end, on a machine that others use too, and for the end after a kill."""
KILLS_EACH = 6
"""After this number of kills what is in a folder is left to end."""
MARK = "METAGYM_KILLS"
WAYS = ("knock", "push", "pull", "sing", "whistle", "wait")
PRESET = """
num_steps = 2
episodes_per_step = [2]
num_seeds = 2
num_validation = 2
num_test = 2
controls = ["empty experience"]

[[environments]]
id = "MetaGym/Gates-v0"
families = ["law-0007"]
train_families = ["law-0100"]
options = {{ max_steps = 3, allow_bad_batches = true, workers = {workers} }}
"""


def reply_to(body: dict[str, Any]) -> tuple[str, str]:
    """Return the digest of a request, whether it asks for a stream or not, and the reply that follows from it."""
    asked = {name: value for name, value in body.items() if not name.startswith("stream")}
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    if "IMPROVED PROMPT" in body["messages"][0]["content"]:
        return digest, f"ANALYSIS: the road is hard.\nIMPROVED PROMPT: Look at the gates. Think of {digest[:12]}."
    return digest, f"Thought: {digest[:8]} it is.\nAction: {WAYS[int(digest[:8], 16) % len(WAYS)]}"


def serve(pipe: Connection, num_asked: Any) -> None:
    """Answer until the pipe closes; send the count of each request when it is asked for."""
    counts: Counter[str] = Counter()

    def respond(request: ServerRequest) -> ServerReply:
        digest, text = reply_to(request.body)
        counts[digest] += 1
        num_asked.value += 1
        return ServerReply(text, delay_s=0.005 + int(digest[8:12], 16) / 0xFFFF * 0.04, chunk_delay_s=0.002)

    with FakeOpenAIServer(respond) as server:
        pipe.send(server.base_url)
        while pipe.recv() == "counts":
            found, counts = counts, Counter()
            pipe.send(found)


class Server:
    """The paid server, in a process of its own."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, far_end = context.Pipe()
        self._num_asked = context.Value("q", 0)
        self._process = context.Process(target=serve, args=(far_end, self._num_asked), daemon=True)
        self._process.start()
        self.base_url: str = self._pipe.recv()

    @property
    def num_asked(self) -> int:
        """The number of requests so far."""
        return int(self._num_asked.value)

    def counts(self) -> Counter[str]:
        """Return how many times each request came since the last call."""
        self._pipe.send("counts")
        return self._pipe.recv()  # type: ignore[no-any-return]

    def close(self) -> None:
        self._pipe.send("stop")
        self._process.join()


def command_line(name: str, folder: Path, server: Server, workers: int) -> list[str]:
    """Return the command that starts, or resumes, what is in `folder`."""
    model, out, where = f"paid@{server.base_url}", folder / "out", json.dumps(workers or "local")
    if name == "run" and (out / "manifest.json").exists():
        return ["resume", str(out)]
    if name == "run":
        options = ["max_steps=5", "episodes_per_step=6", "allow_bad_batches=true", f"workers={where}"]
        given = [word for option in options for word in ("--option", option)]
        return ["run", "MetaGym/Gates-v0", "--actor", model, "--reflector", model, "-n", "4", *given, "-o", str(out)]
    preset = folder / "small.toml"
    preset.write_text(PRESET.format(workers=where), encoding="utf-8")
    asked = ["--reflector", model] if name == "evaluate" else ["ict", "best_of_n(ict)", "--learning-budget=episodes=12"]
    return [name, *asked, "--preset", str(preset), "--actor", model, "-o", str(out)]


def start(arguments: list[str], mark: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, MARK: mark}
    command = [sys.executable, "-m", "metagym", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def left_behind(mark: str) -> list[str]:
    """Return the processes that were started with the mark in their environment, and live."""
    wanted, found = f"{MARK}={mark}".encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:  # it has just ended
            continue
    return found


class Calls(NamedTuple):
    """The model calls in the books of a folder."""

    num_all: int
    num_in_flight: int
    """Calls that were under way at a kill: without an outcome."""
    num_unrecorded: int
    """Replies that were counted and not recorded. A kill finds at most one: nothing else runs between the two."""


def read_calls(out: Path) -> Calls:
    last: dict[tuple[Path, int], str] = {}
    num_recorded = 0
    for calls in out.rglob("calls.jsonl"):
        for line in calls.read_bytes().split(b"\n")[:-1]:
            attempt = json.loads(line)
            last[calls, attempt["number"]] = attempt["outcome"]
    for replies in out.rglob("replies.sqlite"):
        with sqlite3.connect(replies) as db:
            num_recorded += db.execute("SELECT count(*) FROM exchanges").fetchone()[0]
        db.close()
    outcomes = Counter(last.values())
    return Calls(len(last), outcomes["reserved"] + outcomes["unknown"], outcomes["whole"] - num_recorded)


def result_of(out: Path) -> dict[str, Any]:
    """Return what a folder holds: the lines of each log, sorted, and the reports and standings."""
    found: dict[str, Any] = {}
    for file in sorted(out.rglob("*")):
        name = str(file.relative_to(out))
        if file.name == "log.jsonl":
            found[name] = sorted(file.read_bytes().splitlines())
        elif file.name in ("report.json", "arena.json"):
            found[name] = file.read_bytes()
    return found


class Contest:
    """One command, killed in one folder after another, against the same command that nobody kills."""

    def __init__(self, name: str, num_kills: int, server: Server, folder: Path, rng: random.Random) -> None:
        self._name, self._num_kills, self._server, self._folder, self._rng = name, num_kills, server, folder, rng
        first = COMMANDS.index(name)
        self._signals = (*SIGNALS[first:], *SIGNALS[:first])  # so that a few kills are of different kinds
        self.kills: Counter[tuple[signal.Signals, int]] = Counter()
        """How often each signal killed it, with each number of workers."""
        self.num_folders = self.num_in_flight = self.num_paid_twice = 0
        self.orphan_s = 0.0
        """The longest time that a process outlived a kill."""
        self.problems: list[str] = []

    def run(self) -> None:
        """Kill until each signal has come often enough, or there are three problems."""
        whole = self._folder / f"{self._name}-whole"
        self._play_on(whole, 0, None)
        assert not self.problems, self.problems
        self._whole, self._asked = result_of(whole / "out"), self._server.counts()
        print(f"{self._name}: {self._asked.total()} calls of the uninterrupted one", flush=True)
        while self.kills.total() < self._num_kills and len(self.problems) < 3:
            workers = min(WORKERS, key=lambda number: sum(self.kills[own, number] for own in SIGNALS))
            self._kill_until_it_ends(self._folder / f"{self._name}-{self.num_folders}", workers)
            print(f"  {self.num_folders} folders, {self.counts()}, {len(self.problems)} problems", flush=True)

    def counts(self) -> str:
        """Return how often each signal killed it, with and without workers."""
        return ", ".join(
            f"{own.name[3:]} {self.kills[own, WORKERS[0]]} + {self.kills[own, WORKERS[1]]}" for own in SIGNALS
        )

    def _kill_until_it_ends(self, folder: Path, workers: int) -> None:
        num_left, is_done, num_kills, num_problems = self._asked.total(), False, 0, len(self.problems)
        while not is_done and len(self.problems) == num_problems:
            may_kill = num_kills < KILLS_EACH and self.kills.total() < self._num_kills
            own = min(self._signals, key=lambda one: self.kills[one, workers]) if may_kill else None
            # Most moments are while it plays; some while it starts, or reads what was played.
            num_more = self._rng.randint(1, max(2, num_left)) if self._rng.random() < 0.8 else 0
            before = self._server.num_asked
            is_done = self._play_on(folder, workers, own, num_more)
            num_left -= self._server.num_asked - before
            num_kills += not is_done
        self.num_folders += 1
        if is_done:
            self._compare(folder / "out", num_kills)
        else:
            self._server.counts()

    def _play_on(self, folder: Path, workers: int, own: signal.Signals | None, num_more: int = 0) -> bool:
        """Start or resume, kill after `num_more` calls, and return whether it had ended before the kill."""
        folder.mkdir(exist_ok=True)
        moment, ends_at = self._server.num_asked + num_more, time.monotonic() + LIMIT_S
        process = start(command_line(self._name, folder, self._server, workers), str(folder))
        if own is not None:
            while process.poll() is None and self._server.num_asked < moment and time.monotonic() < ends_at:
                time.sleep(0.002)
            time.sleep(self._rng.random() * (0.03 if num_more else 1.5))
            process.send_signal(own)  # nothing happens if it has ended
        try:
            said = process.communicate(timeout=LIMIT_S)[1].decode(errors="replace")
        except subprocess.TimeoutExpired:
            process.kill()
            said = f"it did not end within {LIMIT_S:.0f} s: {process.communicate()[1].decode(errors='replace')}"
        killed_at = time.monotonic()
        while (orphans := left_behind(str(folder))) and time.monotonic() < killed_at + ORPHAN_S:
            time.sleep(0.01)
        self.orphan_s = max(self.orphan_s, time.monotonic() - killed_at)
        if orphans:
            self._report(f"{self._name}: left behind after {own!r}: {orphans}")
        if process.returncode == 0:
            return True
        is_killed = own is not None and process.returncode in (-own, 130)
        # While Python starts; numpy makes an ImportError of it.
        is_early = not num_more and ("KeyboardInterrupt" in said or "ImportError" in said)
        is_killed |= own is signal.SIGINT and is_early
        if own is None or not is_killed or (own is signal.SIGINT and num_more and "Traceback" in said):
            self._report(f"{self._name} ended with {process.returncode} after {own!r}: {said[-2_000:]}")
        else:
            self.kills[own, workers] += 1
        return False

    def _report(self, problem: str) -> None:
        self.problems.append(problem)
        print(f"  {problem}", flush=True)

    def _compare(self, out: Path, num_kills: int) -> None:
        found, counts, calls = result_of(out), self._server.counts(), read_calls(out)
        different = [file for file in {*self._whole, *found} if self._whole.get(file) != found.get(file)]
        if different:
            self._report(f"{self._name}: differs from the uninterrupted one: {different}")
        num_paid_twice, num_lost = (counts - self._asked).total(), calls.num_in_flight + calls.num_unrecorded
        strange = set(counts) ^ set(self._asked)
        is_kept = calls.num_unrecorded <= num_kills and calls.num_all >= counts.total()
        if strange or num_paid_twice > num_lost or not is_kept:
            self._report(
                f"{self._name}: {counts.total()} requests; {num_paid_twice} paid twice in {num_kills} kills, "
                f"in the books {calls}; {len(strange)} other requests than the uninterrupted one"
            )
        self.num_in_flight += num_lost
        self.num_paid_twice += num_paid_twice


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=180)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commands", default=",".join(COMMANDS))
    arguments = parser.parse_args()
    print(f"metagym {metagym.__version__}")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job passes it on as ignored
    server, num_problems = Server(), 0
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.commands.split(","):
            began_at = time.perf_counter()
            own = Contest(name, arguments.kills, server, Path(folder), random.Random(f"{name}{arguments.seed}"))
            own.run()
            num_problems += len(own.problems)
            print(
                f"{name}: killed {own.counts()} times (with workers + without), in {own.num_folders} folders; "
                f"{own.num_in_flight} calls under way at the kills, {own.num_paid_twice} paid twice; the last "
                f"process ended {own.orphan_s:.2f} s after a kill; {time.perf_counter() - began_at:.0f} s"
            )
    server.close()
    return 1 if num_problems else 0


if __name__ == "__main__":
    sys.exit(main())
