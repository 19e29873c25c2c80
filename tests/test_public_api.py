"""What `import metagym` gives, and what it does not load."""

from __future__ import annotations

import ast
import importlib
import json

import gymnasium
import pytest

import metagym
from tests.conftest import SRC, run_python


@pytest.mark.parametrize("name", metagym.__all__)
def test_every_public_name_imports(name: str) -> None:
    assert getattr(metagym, name) is not None
    assert name in dir(metagym)


def test_all_and_the_lazy_exports_agree() -> None:
    eager = {"MetaGymError", "__version__", "make"}
    assert set(metagym.__all__) - eager == set(metagym._MODULE_OF)
    assert sorted(metagym.__all__) == sorted(set(metagym.__all__))


PACKAGES = ("metagym.doctor", "metagym.evaluation", "metagym.models", "metagym.reflectors", "metagym.testing")


@pytest.mark.parametrize("package", PACKAGES)
def test_a_packages_public_names_exist_and_are_documented(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__doc__
    assert len(module.__all__) == len(set(module.__all__))
    for name in module.__all__:
        value = getattr(module, name)
        assert not name.startswith("_")
        if callable(value) and getattr(value, "__module__", "").startswith("metagym"):
            assert value.__doc__, f"{package}.{name} has no docstring"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'MetaEnvv'"):
        _ = metagym.MetaEnvv


def test_no_public_function_shares_a_modules_name() -> None:
    modules = {module.split(".")[1] for module in metagym._MODULE_OF.values()}
    assert not modules & set(metagym.__all__)


def test_import_loads_nothing_optional_no_model_and_no_environment() -> None:
    code = "import json, sys, metagym; print(json.dumps(sorted(sys.modules)))"
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout)
    unwanted = ("torch", "openai", "nle", "minihack", "alfworld", "textworld", "ray", "aiohttp", "typer", "rich")
    assert [name for name in loaded if name.split(".")[0] in unwanted] == []
    assert [name for name in loaded if name.startswith("metagym.envs")] == []


@pytest.mark.parametrize("env_id", [i for i in gymnasium.registry if i.startswith("MetaGym/")])
def test_registered_ids_carry_a_version(env_id: str) -> None:
    assert gymnasium.spec(env_id).version is not None


def test_gymnasium_imports_metagym_by_the_module_form_of_an_id() -> None:
    code = 'import gymnasium; gymnasium.make("metagym:MetaGym/Gates-v0", actor="demo").close(); print("made")'
    assert run_python(code).stdout == "made\n"


def test_no_public_name_is_defined_twice() -> None:
    """Commands are named by what a user types, and programs by `main`; every other name is defined once."""
    defined: dict[str, list[str]] = {}
    for path in sorted(SRC.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            is_definition = isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            if is_definition and not node.name.startswith("_") and node.name != "main" and path.parent.name != "cli":
                defined.setdefault(node.name, []).append(str(path.relative_to(SRC)))
    assert {name: files for name, files in defined.items() if len(files) > 1} == {}
