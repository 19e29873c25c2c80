"""Versions against bounds, missing packages, exact versions that packages need, and an unrelated metagym."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from metagym import imports
from metagym.doctor import Finding, State, packages
from metagym.doctor.packages import (
    Requirement,
    check_namesake,
    check_packages,
    check_python,
    own_requirements,
    read_requirement,
)
from tests.conftest import ROOT

BASE = [Requirement("gymnasium", ">=1.2", ""), Requirement("openai", ">=2,<4", "")]
EXTRA = [Requirement("minihack", "==1.0.2", "minihack"), Requirement("nle", "==1.3.0", "minihack")]
Install = Callable[..., None]
MINIHACK = "pip install minihack==1.0.2 nle==1.3.0"


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Pretend that only these packages are installed, with these requirements."""

    def pretend(versions: Mapping[str, str], requires: Mapping[str, list[str]] | None = None) -> None:
        monkeypatch.setattr(packages, "version_of", versions.get)
        monkeypatch.setattr(importlib.metadata, "requires", lambda name: (requires or {}).get(name, []))

    return pretend


def by_topic(*requirements: Requirement) -> dict[str, Finding]:
    return {finding.topic: finding for finding in check_packages(requirements)}


def test_python_from_3_11_is_fine_and_an_older_one_names_the_remedy() -> None:
    assert check_python((3, 11, 0)).state is State.OK
    assert check_python((4, 0, 0)).state is State.OK
    old = check_python((3, 10, 13))
    assert (old.state, old.remedy) == (State.PROBLEM, "python3.11 -m venv .venv")
    assert "expected Python 3.11 or later, got Python 3.10.13" in old.message


@pytest.mark.parametrize(
    ("bounds", "version", "is_allowed"),
    [
        (">=1.2", "1.2.0", True),
        (">=1.2", "1.10", True),
        (">=1.2", "1.1.9", False),
        (">=2,<4", "3.52.0", True),
        (">=2,<4", "4", False),
        (">=2,<4", "1.99", False),
        ("==1.2.0", "1.2", True),
        ("==1.2.0", "1.2.1", False),
        ("==2.13", "2.13.0+cpu", True),
        ("", "0.1", True),
        (">=1", "", False),
    ],
)
def test_a_version_is_compared_with_the_bounds(bounds: str, version: str, is_allowed: bool) -> None:
    assert Requirement("p", bounds, "").allows(version) == is_allowed


def test_requirements_are_read_in_the_form_of_metadata() -> None:
    assert read_requirement("numpy>=1.26") == Requirement("numpy", ">=1.26", "")
    assert read_requirement("openai[aiohttp]<4,>=2") == Requirement("openai", "<4,>=2", "")
    assert read_requirement("textworld[pddl]==1.7.0; extra == 'alfworld'").extra == "alfworld"
    assert read_requirement("six (>=1.0)").bounds == ">=1.0"
    assert read_requirement("typing-extensions; python_version < '3.11'") == Requirement("typing-extensions", "", "")


def test_metagyms_own_requirements_are_known_in_a_checkout_too() -> None:
    found = {(item.name, item.extra): item.bounds for item in own_requirements()}
    assert set(found["gymnasium", ""].split(",")) == {">=1.2", "<2"}
    assert found["nle", "minihack"] == "==1.3.0"


def test_a_complete_installation_is_fine(install: Install) -> None:
    install({"gymnasium": "1.2.0", "openai": "2.1", "minihack": "1.0.2", "nle": "1.3.0"})
    assert {finding.state for finding in by_topic(*BASE, *EXTRA).values()} == {State.OK}


def test_a_missing_extra_is_no_fault_and_half_of_one_is_a_warning(install: Install) -> None:
    install({"gymnasium": "1.2.0", "openai": "2.1"})
    found = by_topic(*BASE, *EXTRA)["metagym[minihack]"]
    assert (found.state, found.message) == (State.OK, f"not installed. To install it: {MINIHACK}")
    install({"gymnasium": "1.2.0", "openai": "2.1", "nle": "1.3.0"})
    found = by_topic(*BASE, *EXTRA)["metagym[minihack]"]
    assert (found.state, found.remedy) == (State.WARNING, MINIHACK)
    assert "expected minihack too" in found.message


def test_a_package_of_two_extras_is_no_sign_of_either(install: Install) -> None:
    tables = [Requirement("pyarrow", "", "report"), Requirement("matplotlib", "", "report")]
    training = [Requirement("pyarrow", "", "train"), Requirement("torch", "", "train")]
    install({"pyarrow": "17", "matplotlib": "3.9"})
    found = by_topic(*tables, *training)
    assert found["metagym[train]"].message.startswith("not installed")
    assert found["metagym[report]"].message == "pyarrow 17, matplotlib 3.9"


@pytest.mark.parametrize("extra", ["dev", "docs", "browser"])
def test_the_extras_for_work_on_metagym_are_not_checked(install: Install, extra: str) -> None:
    install({"gymnasium": "1.2.0", "openai": "2.1", "sphinx": "8.2"})
    assert f"metagym[{extra}]" not in by_topic(*BASE, Requirement("sphinx", "", extra))


def test_a_base_package_that_is_missing_or_wrong_is_a_problem(install: Install) -> None:
    install({"gymnasium": "1.2.0"})
    found = by_topic(*BASE)["metagym"]
    assert found.state is State.PROBLEM
    assert "openai[aiohttp]" in found.remedy
    assert "metagym" not in found.remedy
    assert "expected openai too" in found.message
    install({"gymnasium": "1.1", "openai": "4.0"})
    found = by_topic(*BASE)["metagym"]
    assert found.message == "expected gymnasium>=1.2, got 1.1, openai>=2,<4, got 4.0"


def test_the_gymnasium_that_nle_pins_is_named(install: Install) -> None:
    versions = {"gymnasium": "1.4.0", "openai": "2.1", "minihack": "1.0.2", "nle": "1.3.0"}
    install(versions, {"nle": ["gymnasium==1.2.0", "pybind11>=2.2", 'ruff==0.4.3; extra == "dev"']})
    found = by_topic(*BASE, *EXTRA)["gymnasium"]
    assert (found.state, found.remedy) == (State.PROBLEM, "pip install 'gymnasium==1.2.0'")
    assert found.message == "nle 1.3.0 expects gymnasium==1.2.0, got gymnasium 1.4.0"


def test_without_metadata_the_pins_are_not_known() -> None:
    found = next(iter(check_packages([])))
    assert (found.state, found.topic) == (State.WARNING, "metagym")
    assert "pip install -e ." in found.remedy


@pytest.mark.parametrize(("command", "is_foreign"), [("metagym.cli:main", False), ("metagym.main:run", True)])
def test_an_unrelated_project_of_the_same_name_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, is_foreign: bool
) -> None:
    folder = tmp_path / "metagym-0.1.1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: metagym\nVersion: 0.1.1\n", encoding="utf-8")
    (folder / "entry_points.txt").write_text(f"[console_scripts]\nmetagym = {command}\n", encoding="utf-8")
    installed = [importlib.metadata.PathDistribution(folder)]
    monkeypatch.setattr(importlib.metadata, "distributions", lambda **_: installed)
    found = list(check_namesake())
    assert [finding.state for finding in found] == [State.PROBLEM] * is_foreign
    if is_foreign:
        assert "got an unrelated project of the same name, 0.1.1" in found[0].message
        assert found[0].remedy.startswith("pip uninstall metagym")
        monkeypatch.setattr(imports, "__file__", str(ROOT / "src" / "metagym" / "imports.py"))
        assert own_requirements(), "those of the checkout, and not of the unrelated project"
