"""Runs a command and ends all of its processes, even if this script's own parent is killed. Standard library only.

    python local_server_supervisor.py PARENT_PID [--pass-input] COMMAND...

It starts the command in a new process group. It ends the group, and everything that the group started, as soon as
the parent closes the pipe on this script's standard input or is gone. With `--pass-input` the command itself gets that
input, so that it ends by itself if it is closed, or with the parent. The exit code is the command's. This is a script,
because it must start fast, in a child that forked nothing; `supervised` returns its command line.
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
from collections.abc import Sequence

POLL_S = 0.2
GRACE_S = 2.0
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_PASS_INPUT = "--pass-input"


def supervised(command: Sequence[str], *, pass_input: bool = False) -> list[str]:
    """Return the command line that runs a command under supervision, as a child of this process."""
    return [sys.executable, "-I", __file__, str(os.getpid()), *([_PASS_INPUT] if pass_input else ()), *command]


def main() -> int:
    """Run the command until it ends, or until the parent is gone."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    passes_input = command[:1] == [_PASS_INPUT]
    if passes_input:
        command = command[1:]
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # orphans of the command become children of this process
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, lambda *_: sys.exit(143))
    process = subprocess.Popen(
        command,
        stdin=None if passes_input else subprocess.DEVNULL,
        start_new_session=True,
        # If this process itself is killed with -9, at least the command is killed with it.
        preexec_fn=lambda: _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),
    )
    try:
        while process.poll() is None:
            # A forked sibling may hold the pipe open, so the parent's id is checked as well.
            if (_wait(process) if passes_input else _input_ended()) or os.getppid() != parent:
                break
    finally:
        _end(process)
    return process.returncode if process.returncode is not None else 1


def _input_ended() -> bool:
    """Wait for a moment; return whether the standard input was closed."""
    ready, _, _ = select.select([0], [], [], POLL_S)
    return bool(ready and not os.read(0, 1))


def _wait(process: subprocess.Popen[bytes]) -> bool:
    """Wait for a moment; return whether the process ended."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(POLL_S)
        return True
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the group by SIGTERM, then everything that is left by SIGKILL."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    while time.monotonic() < deadline and (process.poll() is None or _children()):
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for _ in range(100):  # the children of a killed child become children of this process, and are killed next
        left = _children()
        if not left and process.poll() is not None:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        process.poll()
        time.sleep(0.01)


def _children() -> list[int]:
    """Return the ids of this process's children, if the system lists them; first reap those that have ended."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            left = [int(pid) for pid in file.read().split()]
    except OSError:
        return []
    for pid in tuple(left):
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
            if fields[0] == "Z" and int(fields[2]) != pid:  # `poll` reaps the command itself
                os.waitpid(pid, os.WNOHANG)
                left.remove(pid)
    return left


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main())
