"""The machine: folders and disk space, the terminal and its characters, a GPU."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

from metagym.doctor.finding import Finding, ok, problem, warning
from metagym.doctor.packages import version_of

CHARACTERS = "█ ━ é"
"""Characters of the tables, bars and texts that metagym prints."""
LITTLE_SPACE = 1 << 30
TOO_LITTLE_SPACE = 50 << 20
QUERY_TIMEOUT_S = 3.0


def check_folders(environ: Mapping[str, str], *, here: Path | None = None) -> Iterator[Finding]:
    """Check that runs, temporary files and caches can be written, and that the disk has space."""
    here = here or Path.cwd()
    runs = here / "runs"
    place = runs if runs.is_dir() else here
    if (reason := why_not_writable(place)) is not None:
        yield problem(
            "runs", f"no run can be written to {runs}: {reason}", "cd to another folder, or give --out FOLDER"
        )
    else:
        yield from _check_room(place)
    scratch = Path(tempfile.gettempdir())
    if (reason := why_not_writable(scratch)) is not None:
        yield problem("scratch", f"{scratch} cannot be written: {reason}; NetHack needs it", "export TMPDIR=FOLDER")
    home = Path(environ.get("HOME") or Path.home())
    cache = Path(environ.get("XDG_CACHE_HOME") or home / ".cache")
    place = next(folder for folder in (cache, *cache.parents) if folder.is_dir())
    if (reason := why_not_writable(place)) is not None:
        message = f"{place} cannot be written: {reason}; metagym needs no cache, but matplotlib and model hubs do"
        yield warning("home", message, "export XDG_CACHE_HOME=FOLDER HF_HOME=FOLDER MPLCONFIGDIR=FOLDER")


def why_not_writable(folder: Path) -> str | None:
    """Return why no file can be made in a folder; None if one can be made."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"metagym")
    except OSError as error:
        return error.strerror or str(error)
    return None


def _check_room(folder: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(folder).free
    message, remedy = (
        f"{free / 2**30:.1f} GiB are free at {folder}",
        "free disk space, or give --out FOLDER on another disk",
    )
    if free < TOO_LITTLE_SPACE:
        yield problem("runs", f"{message}: too little for a run", remedy)
    elif free < LITTLE_SPACE:
        yield warning("runs", message, remedy)
    else:
        yield ok("runs", message)


def check_terminal(stream: TextIO | None = None) -> Iterator[Finding]:
    """Check that the output can show the characters of tables and bars, and whether it is a terminal."""
    stream = stream or sys.stdout
    encoding = stream.encoding or "ascii"
    try:
        CHARACTERS.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        message = f"the output is encoded in {encoding}, without the characters of tables and bars: each becomes a '?'"
        yield warning("terminal", message, "export LANG=C.UTF-8 PYTHONUTF8=1")
        return
    if stream.isatty():
        yield ok("terminal", f"its encoding is {encoding}")
    else:
        yield ok("terminal", f"the output is a file or a pipe: no progress bars and no colours ({encoding})")


def check_gpu() -> Finding:
    """Look for a GPU, which only a model server and training use."""
    program = shutil.which("nvidia-smi")
    torch = version_of("torch")
    if program is None:
        return ok("gpu", "none found; only a model server on this machine and training would use one")
    try:
        done = subprocess.run(
            [program, "--query-gpu=name,memory.total", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=QUERY_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return warning("gpu", f"nvidia-smi does not answer: {error}", "check the driver: nvidia-smi")
    names = "; ".join(done.stdout.split("\n")).strip("; ")
    if torch is not None and torch.endswith("+cpu"):
        message = f"{names}, but torch {torch} is a build without CUDA"
        return warning("gpu", message, "pip install --force-reinstall torch")
    return ok("gpu", names)
