"""Copying and pickling an environment works, or says what to do instead."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import gymnasium
import pytest

import metagym
from metagym.errors import ConfigError

COPIES: tuple[Callable[[Any], Any], ...] = (copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env)))


def meta_env() -> Any:
    return gymnasium.make("MetaGym/Gates-v0", actor="demo", episodes_per_step=2)


def wrapped() -> Any:
    return gymnasium.wrappers.RecordEpisodeStatistics(meta_env())


def vector() -> Any:
    return gymnasium.make_vec("MetaGym/Gates-v0", num_envs=2, actor="demo", episodes_per_step=2)


def household() -> Any:
    from metagym.envs.alfworld.env import ALFWorldTextEnv

    return ALFWorldTextEnv(data="generated")


@pytest.mark.parametrize("copied", COPIES)
@pytest.mark.parametrize(
    ("make", "remedy"),
    [
        (meta_env, r"metagym.make\(env.spec.id"),
        (wrapped, r"metagym.make\(env.spec.id"),
        (vector, r"gymnasium.make_vec\("),
        (household, r"reset\(options="),
    ],
)
@pytest.mark.parametrize("is_played", [False, True])
def test_an_environment_that_cannot_be_copied_says_what_to_do(
    make: Callable[[], Any], remedy: str, copied: Callable[[Any], Any], is_played: bool
) -> None:
    env = make()
    if is_played:
        env.reset(seed=0)
    with pytest.raises(ConfigError, match=f"cannot be copied or pickled.*{remedy}"):
        copied(env)
    env.close()


@pytest.mark.minihack
@pytest.mark.parametrize("copied", COPIES)
def test_a_game_of_nethack_says_what_to_do(copied: Callable[[Any], Any]) -> None:
    pytest.importorskip("nle")
    from metagym.envs.minihack.env import MiniHackTextEnv

    env = MiniHackTextEnv()
    with pytest.raises(ConfigError, match=r"NetHack cannot be copied .*reset\(options="):
        copied(env)
    env.close()


@pytest.mark.parametrize("copied", COPIES)
def test_a_copy_of_gates_plays_as_the_original(copied: Callable[[Any], Any]) -> None:
    env = gymnasium.make("MetaGym/GatesText-v0")
    env.reset(seed=3)
    other = copied(env)
    assert [env.step("push") for _ in range(3)] == [other.step("push") for _ in range(3)]
    assert env.reset(seed=4)[0] == other.reset(seed=4)[0]


def test_what_the_message_says_works() -> None:
    env = meta_env()
    again = metagym.make(env.spec.id, **env.spec.kwargs)
    prompt = env.reset(seed=5)[1]["default_prompt"]
    again.reset(seed=5)
    assert env.step(prompt)[0] == again.step(prompt)[0]
    env.close()
    again.close()
