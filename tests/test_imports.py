"""Imports by name, and the command that installs an optional package."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

import pytest

from metagym import imports
from metagym.errors import ConfigError, MissingExtraError
from metagym.imports import declared_requirements, import_object, install_command, require
from tests.conftest import ROOT


def test_an_object_is_found_by_its_path_and_a_wrong_path_is_named() -> None:
    assert import_object("metagym.errors:ConfigError") is ConfigError
    with pytest.raises(ConfigError, match=r"Expected an import path .*got 'metagym\.no:Name'"):
        import_object("metagym.no:Name")


def test_a_missing_package_names_the_command_and_never_this_projects_name() -> None:
    with pytest.raises(MissingExtraError, match=r"Expected the package 'no_such_package'.*Run: pip install") as found:
        require("no_such_package.part", extra="report")
    assert "metagym" not in str(found.value)


def test_an_import_that_fails_inside_an_installed_package_is_not_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_package.py").write_text("import no_such_package\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_package") as found:
        require("broken_package", extra="report")
    assert not isinstance(found.value, MissingExtraError)


def test_the_base_has_a_command_without_the_packages_of_extras() -> None:
    assert "gymnasium" in install_command("")
    assert "minihack" not in install_command("")


def test_a_checkout_that_is_not_installed_has_the_same_requirements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "__file__", str(ROOT / "src" / "metagym" / "imports.py"))
    monkeypatch.setattr(importlib.metadata, "distributions", lambda **_: [])
    assert any(line.startswith("nle==") and "minihack" in line for line in declared_requirements())
    assert install_command("minihack") == "pip install minihack==1.0.2 nle==1.3.0"


def test_without_any_metadata_the_command_is_for_a_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.metadata, "distributions", lambda **_: [])
    monkeypatch.setattr(imports, "__file__", str(tmp_path / "a" / "b" / "imports.py"))
    assert re.fullmatch(r"pip install -e '\.\[train\]', in a checkout of metagym", install_command("train"))
