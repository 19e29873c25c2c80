"""Meta-environments by id and import path, and the options that one takes."""

from __future__ import annotations

from typing import Any

import pytest

from metagym.envs.gates.meta import GatesMetaEnv
from metagym.errors import ConfigError, UnknownNameError
from metagym.registration import RESERVED, check_options, make


class Closed(GatesMetaEnv):
    """Takes one option of its own, and none of MetaEnv's."""

    def __init__(self, actor: Any = "demo", *, size: int = 3) -> None:
        super().__init__(actor)
        self.size = size


CLOSED = "tests.test_registration:Closed"


@pytest.mark.parametrize(
    ("env_id", "options"),
    [
        ("MetaGym/Gates-v0", {"episodes_per_step": 3, "families": ["law-0001"], "workers": 2}),
        ("MetaGym/ALFWorld-v0", {"data": "generated", "accept_both_spellings": True, "max_steps": 9}),
        ("MetaGym/MiniHack-v0", {"parts": ["glyphs"], "goal": "none"}),
        (CLOSED, {"size": 4}),
    ],
)
def test_options_of_the_configuration_and_of_the_constructor_pass(env_id: str, options: dict[str, Any]) -> None:
    check_options(env_id, options)


@pytest.mark.parametrize("name", RESERVED)
def test_a_reserved_name_is_refused_with_what_to_write_instead(name: str) -> None:
    with pytest.raises(ConfigError, match=f"'{name}' is not an option of the environment: ") as raised:
        check_options("MetaGym/Gates-v0", {name: None})
    assert RESERVED[name] in str(raised.value)


def test_a_caller_can_reserve_other_names() -> None:
    with pytest.raises(ConfigError, match=r"'families' is not an option .*: write the field families"):
        check_options("MetaGym/Gates-v0", {"families": []}, reserved={"families": "write the field families"})


@pytest.mark.parametrize(
    ("env_id", "option", "problem"),
    [
        ("MetaGym/Gates-v0", {"episodes": 3}, r"Unknown option 'episodes'.* Did you mean 'episodes_per_step'"),
        ("MetaGym/MiniHack-v0", {"pats": 3}, r"Unknown option 'pats'.* Did you mean 'parts'.* All options: .*goal"),
        (CLOSED, {"episodes_per_step": 3}, r"Unknown option 'episodes_per_step': expected one of 'size'"),
    ],
)
def test_an_unknown_option_is_refused_with_the_nearest_name(env_id: str, option: Any, problem: str) -> None:
    with pytest.raises(UnknownNameError, match=problem):
        check_options(env_id, option)
    with pytest.raises(UnknownNameError, match=problem.partition(":")[0].partition("'.*")[0]):
        make(env_id, **{"actor": "demo", **option})


@pytest.mark.parametrize(
    ("env_id", "option", "problem"),
    [
        ("MetaGym/ALFWorld-v0", {"data": 3}, "Option 'data' got 3: Input should be 'official' or 'generated'"),
        ("MetaGym/MiniHack-v0", {"parts": 5}, "Option 'parts' got 5: Input should be an instance of Sequence"),
        (CLOSED, {"size": "large"}, "Option 'size' got 'large': Input should be a valid integer"),
    ],
)
def test_a_value_of_another_type_is_refused(env_id: str, option: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        check_options(env_id, option)


def test_make_says_how_the_number_of_meta_steps_is_passed() -> None:
    with pytest.raises(ConfigError, match="'max_episode_steps' is not an option here: pass num_steps"):
        make("MetaGym/Gates-v0", actor="demo", max_episode_steps=3)


@pytest.mark.parametrize("num_steps", [0, -1, "3", 2.0])
def test_a_number_of_meta_steps_is_one_or_more(num_steps: Any) -> None:
    with pytest.raises(ConfigError, match=r"num_steps must be a whole number of meta-steps, 1 or more, got"):
        make("MetaGym/Gates-v0", actor="demo", num_steps=num_steps)
