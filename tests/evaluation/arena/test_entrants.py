"""The methods of an arena: names, optimizers around reflectors, and the needs of a name."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

import pytest

from metagym.errors import ConfigError, MissingExtraError, UnknownNameError
from metagym.evaluation.arena import make_entrants
from metagym.evaluation.arena.run import all_names
from metagym.optimizers import BestOfN, Gepa, InTurn
from metagym.reflectors import ChatReflector, method_names
from metagym.types import MetaStep

DEMO = {"model": "demo"}
has_gepa = importlib.util.find_spec("gepa") is not None


def shout(history: Sequence[MetaStep]) -> str:
    return history[-1].prompt + "!"


def test_all_is_every_method_and_the_optimizers_that_are_installed() -> None:
    names = [item.name for item in make_entrants(["all"], model=DEMO)]
    assert names == [*method_names(), "best_of_n(ict)", *(["gepa"] if has_gepa else [])] == list(all_names())


def test_the_baseline_comes_first_if_it_is_not_named() -> None:
    assert [item.name for item in make_entrants(["ict"], model=DEMO)] == ["fixed", "ict"]
    assert [item.name for item in make_entrants(["ict", "fixed"], model=DEMO)] == ["ict", "fixed"]


def test_a_name_decides_the_optimizer_and_the_reflector() -> None:
    _, ict, best, mine = make_entrants(
        ["ict", "best_of_n(ict)", "tests.evaluation.arena.test_entrants:shout"], model=DEMO, num_steps=7
    )
    assert (ict.optimizer, best.optimizer, mine.optimizer) == (InTurn(7), BestOfN(num_steps=7), InTurn(7))
    assert isinstance(best.reflector, ChatReflector)
    assert mine.name == "tests.evaluation.arena.test_entrants:shout"


@pytest.mark.skipif(not has_gepa, reason="needs the extra metagym[gepa]")
def test_gepa_asks_the_model_that_the_others_ask() -> None:
    _, gepa = make_entrants(["gepa"], model=DEMO)
    assert gepa.optimizer == Gepa()
    assert isinstance(gepa.reflector, ChatReflector)


@pytest.mark.skipif(has_gepa, reason="the extra metagym[gepa] is installed")
def test_gepa_by_name_gives_the_install_command_if_it_is_missing() -> None:
    with pytest.raises(
        MissingExtraError, match=r"Expected the package 'gepa', which is not installed. Run: pip install"
    ):
        make_entrants(["gepa"], model=DEMO)


def test_unknown_names_repeated_names_and_missing_models_are_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown reflector 'itc'.* Did you mean 'ict'"):
        make_entrants(["itc"], model=DEMO)
    with pytest.raises(ConfigError, match="The method 'ict' needs a model"):
        make_entrants(["ict"])
    with pytest.raises(ConfigError, match="Expected each method once, got 'ict' twice"):
        make_entrants(["ict", "ict"], model=DEMO)
    with pytest.raises(UnknownNameError, match=r"Unknown reflector 'best_of_n\(\)'"):
        make_entrants(["best_of_n()"], model=DEMO)
