"""The examples run offline, each to its end, and print something worth seeing."""

from __future__ import annotations

import importlib.util
import os
import runpy
import subprocess
import sys
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from metagym.testing import check_meta_env
from tests.conftest import ROOT, SRC

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
ENVIRONMENTS = sorted((ROOT / "examples" / "environments").glob("*.py"))
ENV = {**os.environ, "PYTHONPATH": str(SRC.parent)}
NEEDS = {"minihack": "minihack", "mcp": "mcp"}


def marked(paths: list[Path]) -> list[Any]:
    """Return the paths as parameters; an example with a server for each episode is slow."""
    slow = [pytest.mark.slow, pytest.mark.mcp]
    return [pytest.param(path, id=path.stem, marks=slow if "mcp" in path.stem else []) for path in paths]


def skip_if_missing(path: Path) -> None:
    for word, package in NEEDS.items():
        if word in path.stem and importlib.util.find_spec(package) is None:
            pytest.skip(f"needs the extra metagym[{word}]")


@pytest.mark.parametrize("path", marked([*EXAMPLES, *ENVIRONMENTS]))
def test_an_example_runs_and_prints(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    skip_if_missing(path)
    if "workers=" in path.read_text(encoding="utf-8"):  # a worker process imports the script it was begun by
        done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=60, env=ENV, check=False)
        assert done.returncode == 0, done.stderr
        print(done.stdout)
    else:
        runpy.run_path(str(path), run_name="__main__")
    assert len(capsys.readouterr().out.splitlines()) >= 2


@pytest.mark.parametrize("path", [*EXAMPLES, *ENVIRONMENTS], ids=lambda path: path.stem)
def test_an_example_is_short(path: Path) -> None:
    limit = 90 if path in ENVIRONMENTS else 80  # an environment's example holds a whole world
    assert len(path.read_text(encoding="utf-8").splitlines()) < limit


def meta_env_of(path: Path) -> Any:
    """Return the meta-environment that an example defines."""
    return next(value for name, value in runpy.run_path(str(path)).items() if name.endswith("MetaEnv"))


@pytest.mark.parametrize("path", marked([ROOT / "examples" / "03_own_environment.py", *ENVIRONMENTS]))
def test_an_examples_environment_keeps_the_contract(path: Path) -> None:
    if path.stem == "remote":
        pytest.skip("has a test of its own, as it needs its server")
    if path.stem == "mcp_tank":
        pytest.skip("has a server for each episode: tests/adapter/test_mcp_env.py checks another world of its kind")
    check_meta_env(meta_env_of(path))


def test_the_environment_behind_http_keeps_the_contract() -> None:
    example = runpy.run_path(str(ROOT / "examples" / "environments" / "remote.py"))
    with ThreadingHTTPServer(("127.0.0.1", 0), example["GameServer"]) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        check_meta_env(example["RemoteMetaEnv"], url=url, episodes_per_step=2, max_steps=4)
        server.shutdown()
