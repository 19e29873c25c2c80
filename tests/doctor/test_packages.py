"""Versions against bounds, what is missing, and what the environments' packages pin."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping

import pytest

from metagym.doctor import Finding, State, packages
from metagym.doctor.packages import Requirement, check_packages, check_python, own_requirements, read_requirement

BASE = [Requirement("gymnasium", ">=1.2", ""), Requirement("openai", ">=2,<4", "")]
EXTRA = [Requirement("minihack", "==1.0.2", "minihack"), Requirement("nle", "==1.3.0", "minihack")]
Install = Callable[..., None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Make it look as if just these packages were installed, with these requirements of theirs."""

    def pretend(versions: Mapping[str, str], requires: Mapping[str, list[str]] | None = None) -> None:
        monkeypatch.setattr(packages, "version_of", versions.get)
        monkeypatch.setattr(importlib.metadata, "requires", lambda name: (requires or {}).get(name, []))

    return pretend


def by_topic(*requirements: Requirement) -> dict[str, Finding]:
    return {finding.topic: finding for finding in check_packages(requirements)}


def test_python_from_3_11_is_fine_and_an_older_one_is_told_what_to_make() -> None:
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
def test_a_version_is_held_against_the_bounds(bounds: str, version: str, is_allowed: bool) -> None:
    assert Requirement("p", bounds, "").allows(version) == is_allowed


def test_requirements_are_read_as_metadata_writes_them() -> None:
    assert read_requirement("numpy>=1.26") == Requirement("numpy", ">=1.26", "")
    assert read_requirement("openai[aiohttp]<4,>=2") == Requirement("openai", "<4,>=2", "")
    assert read_requirement("textworld[pddl]==1.7.0; extra == 'alfworld'").extra == "alfworld"
    assert read_requirement("six (>=1.0)").bounds == ">=1.0"
    assert read_requirement("typing-extensions; python_version < '3.11'") == Requirement("typing-extensions", "", "")


def test_metagyms_own_requirements_are_known_in_a_checkout_too() -> None:
    found = {(item.name, item.extra): item.bounds for item in own_requirements()}
    assert found["gymnasium", ""] == ">=1.2,<2"
    assert found["nle", "minihack"] == "==1.3.0"


def test_what_is_whole_is_fine(install: Install) -> None:
    install({"gymnasium": "1.2.0", "openai": "2.1", "minihack": "1.0.2", "nle": "1.3.0"})
    assert {finding.state for finding in by_topic(*BASE, *EXTRA).values()} == {State.OK}


def test_a_missing_extra_is_no_fault_and_half_of_one_is_a_warning(install: Install) -> None:
    install({"gymnasium": "1.2.0", "openai": "2.1"})
    found = by_topic(*BASE, *EXTRA)["metagym[minihack]"]
    assert (found.state, found.message) == (State.OK, "not installed; pip install 'metagym[minihack]'")
    install({"gymnasium": "1.2.0", "openai": "2.1", "nle": "1.3.0"})
    found = by_topic(*BASE, *EXTRA)["metagym[minihack]"]
    assert (found.state, found.remedy) == (State.WARNING, "pip install 'metagym[minihack]'")
    assert "expected minihack too" in found.message


def test_what_two_extras_ask_for_is_no_sign_of_either(install: Install) -> None:
    tables = [Requirement("pyarrow", "", "report"), Requirement("matplotlib", "", "report")]
    training = [Requirement("pyarrow", "", "train"), Requirement("torch", "", "train")]
    install({"pyarrow": "17", "matplotlib": "3.9"})
    found = by_topic(*tables, *training)
    assert found["metagym[train]"].message.startswith("not installed")
    assert found["metagym[report]"].message == "pyarrow 17, matplotlib 3.9"


def test_a_base_package_that_is_missing_or_wrong_is_a_problem(install: Install) -> None:
    install({"gymnasium": "1.2.0"})
    found = by_topic(*BASE)["metagym"]
    assert (found.state, found.remedy) == (State.PROBLEM, "pip install metagym")
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
