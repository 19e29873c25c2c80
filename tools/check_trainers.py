"""Check the adapters for other trainers and libraries against their real packages, each in an environment of its own.

    python tools/check_trainers.py [NAME ...] [--folder FOLDER]

Without names it checks all. It installs from the package index (torch first, for TRL), and needs minutes and a few GB.
It prints the versions, with the date, for docs/training.md.
"""

from __future__ import annotations

import argparse
import datetime
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SLOW_TOO = "slow or not slow"
VERL_NEEDS = ("cachetools", "uvicorn", "fastapi", "TransferQueue", "pyzmq", "msgspec")
CHECKS: dict[str, tuple[list[str], list[str]]] = {
    "textarena": (["textarena"], ["tests/bridges/test_textarena.py"]),
    "verifiers": (["verifiers"], ["tests/bridges/test_verifiers.py", "tests/bridges/test_verifiers_env.py"]),
    "skyrl-gym": (["skyrl-gym"], ["tests/bridges/test_skyrl.py"]),
    "openenv": (["openenv"], ["tests/bridges/test_openenv.py", "tests/bridges/test_openenv_client.py"]),
    "verl": (
        ["torch==2.13.0", "verl==0.9.1", "transformers<5.11", *VERL_NEEDS],
        ["tests/training/test_verl_contract.py"],
    ),
    "trl": (["torch==2.13.0", "trl", "-e", f"{ROOT}[train]"], ["tests/training/test_trl.py"]),
}
"""By package: what is installed beside metagym, and the tests."""


def check(name: str, folder: Path) -> bool:
    """Make the environment, run the tests in it, and print one line; return whether they passed."""
    packages, tests = CHECKS[name]
    python = folder / name / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder / name)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet"]
        if packages[0].startswith("torch"):  # alone and first, or the packages for CUDA come with it
            subprocess.run([*pip, packages[0]], check=True)
        subprocess.run([*pip, *packages, "-e", f"{ROOT}[dev]"], check=True)
    version = f"import importlib.metadata as m; print(m.version({name!r}))"
    found = subprocess.run([str(python), "-c", version], capture_output=True, text=True, check=True).stdout.strip()
    command = [str(python), "-m", "pytest", "-p", "no:cacheprovider", "-n", "0", "-m", SLOW_TOO, *tests]
    passed = subprocess.run(command, cwd=ROOT, check=False).returncode == 0
    print(f"{name} {found}: {'passed' if passed else 'FAILED'} on {datetime.date.today()}", flush=True)
    return passed


def main() -> int:
    """Check the named packages, or all; return 1 if a check failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"among {', '.join(CHECKS)}")
    parser.add_argument("--folder", type=Path, help="keep the environments there, and use those that are there")
    options = parser.parse_args()
    if unknown := set(options.names) - CHECKS.keys():
        parser.error(f"expected names among {', '.join(CHECKS)}, got {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        passed = [check(name, folder) for name in options.names or CHECKS]  # all, also after a failure
        return int(not all(passed))


if __name__ == "__main__":
    sys.exit(main())
