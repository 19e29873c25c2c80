"""Seeds and digests: the same in every process, different for different parts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from metagym.envs.gates.demo import GatesDemoActor
from metagym.imports import package_versions
from metagym.optional_attributes import describe
from metagym.types import derive_seed, digest
from tests.conftest import run_python


@given(st.lists(st.integers() | st.text(max_size=5), max_size=4))
def test_seeds_are_in_the_range_that_servers_and_generators_accept(parts: list[int | str]) -> None:
    assert 0 <= derive_seed(*parts) < 2**31


def test_a_seed_depends_on_the_type_and_position_of_each_part() -> None:
    seeds = {derive_seed(*parts) for parts in [(1, 2), (2, 1), (12,), (1, "2"), ("1", 2), (1, 2, 0), ()]}
    assert len(seeds) == 7


def test_the_boundary_between_parts_counts() -> None:
    assert derive_seed("ab", "c") != derive_seed("a", "bc")


def test_a_digest_does_not_depend_on_the_order_of_a_mapping() -> None:
    assert digest({"a": 1, "b": [2, None]}) == digest({"b": [2, None], "a": 1})


def test_digests_and_seeds_are_the_same_in_processes_with_different_hash_seeds() -> None:
    code = "from metagym.types import derive_seed, digest; print(digest({'b': 'é', 'a': [1]}), derive_seed(3, 'x'))"
    printed = [run_python(code, env={"PYTHONHASHSEED": seed}).stdout for seed in ("1", "2")]
    assert printed[0] == printed[1] == f"{digest({'a': [1], 'b': 'é'})} {derive_seed(3, 'x')}\n"


def test_describe_prefers_a_parts_own_fingerprint() -> None:
    assert describe(GatesDemoActor(slip=0.5)) == {"kind": "GatesDemoActor", "slip": 0.5}


def test_describe_names_functions_and_classes_by_module_and_name() -> None:
    assert describe(derive_seed) == "metagym.types:derive_seed"
    assert describe(object()) == "builtins:object"
    assert describe("fresh") == "fresh"
    assert describe(None) is None


def test_package_versions_leave_out_missing_packages() -> None:
    assert set(package_versions("numpy", "no-such-package-here")) == {"numpy"}
