"""Runs a command and ends all of its processes, even if this script's own parent is killed. Standard library only.

    python local_server_supervisor.py PARENT_PID COMMAND...

It starts the command in a new process group. It ends the group, and everything that the group started, as soon as
the parent closes the pipe on this script's standard input or is gone. Its exit code is the command's. It is a
script, because it must start fast, in a child that forked nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time

POLL_S = 0.2
GRACE_S = 2.0
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def main() -> int:
    """Run the command until it ends, or until the parent is gone."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # orphans of the command become children of this process
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, lambda *_: sys.exit(143))
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        # If this process itself is killed with -9, at least the command is killed with it.
        preexec_fn=lambda: _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),
    )
    try:
        while process.poll() is None:
            ready, _, _ = select.select([0], [], [], POLL_S)
            # A forked sibling may hold the pipe open, so the parent's id is checked as well.
            if (ready and not os.read(0, 1)) or os.getppid() != parent:
                break
    finally:
        _end(process)
    return process.returncode if process.returncode is not None else 1


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the group by SIGTERM, then everything that is left by SIGKILL."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    while time.monotonic() < deadline and (process.poll() is None or _children()):
        _reap()
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for _ in range(100):  # the children of a killed child become children of this process, and are killed next
        _reap()
        left = _children()
        if not left and process.poll() is not None:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        process.poll()
        time.sleep(0.01)


def _children() -> list[int]:
    """Return the ids of this process's children; an empty list if the system does not list them."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return []


def _reap() -> None:
    """Reap adopted children that have ended; `poll` reaps the command itself."""
    for pid in _children():
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
            if fields[0] == "Z" and int(fields[2]) != pid:
                os.waitpid(pid, os.WNOHANG)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main())
