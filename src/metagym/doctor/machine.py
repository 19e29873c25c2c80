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
    if reason := why_not_writable(place):
        message = f"no run can be written to {runs}: {reason}"
        yield problem("runs", message, "cd to another folder, or give --out FOLDER")
    else:
        yield _check_space(place)
    scratch = Path(tempfile.gettempdir())
    if reason := why_not_writable(scratch):
        yield problem("scratch", f"{scratch} cannot be written: {reason}; NetHack needs it", "export TMPDIR=FOLDER")
    home = Path(environ.get("HOME") or Path.home())
    cache = Path(environ.get("XDG_CACHE_HOME") or home / ".cache")
    place = next(folder for folder in (cache, *cache.parents) if folder.is_dir())
    if reason := why_not_writable(place):
        message = f"{place} cannot be written: {reason}; metagym needs no cache, but matplotlib and model hubs do"
        yield warning("home", message, "export XDG_CACHE_HOME=FOLDER HF_HOME=FOLDER MPLCONFIGDIR=FOLDER")


def why_not_writable(folder: Path) -> str:
    """Return why no file can be made in a folder; empty if one can be made."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"metagym")
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _check_space(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    message = f"{free / 2**30:.1f} GiB are free at {folder}"
    remedy = "free disk space, or give --out FOLDER on another disk"
    if free < TOO_LITTLE_SPACE:
        return problem("runs", f"{message}: too little for a run", remedy)
    return warning("runs", message, remedy) if free < LITTLE_SPACE else ok("runs", message)


def check_terminal(stream: TextIO | None = None) -> Finding:
    """Check that the output can show the characters of tables and bars, and whether it is a terminal."""
    stream = stream or sys.stdout
    encoding = stream.encoding or "ascii"
    try:
        CHARACTERS.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        message = f"the output is encoded in {encoding}, without the characters of tables and bars: each becomes a '?'"
        return warning("terminal", message, "export LANG=C.UTF-8 PYTHONUTF8=1")
    if stream.isatty():
        return ok("terminal", f"its encoding is {encoding}")
    return ok("terminal", f"the output is a file or a pipe: no progress bars and no colours ({encoding})")


def check_gpu() -> Finding:
    """Look for a GPU, which only a model server and training use."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ok("gpu", "not found; only a model server on this machine and training would use one")
    query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=QUERY_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return warning("gpu", f"nvidia-smi does not answer: {error}", "check the driver: nvidia-smi")
    names = "; ".join(done.stdout.splitlines())
    torch = version_of("torch") or ""
    if torch.endswith("+cpu"):
        message = f"{names}, but torch {torch} is a build without CUDA"
        return warning("gpu", message, "pip install --force-reinstall torch")
    return ok("gpu", names)
