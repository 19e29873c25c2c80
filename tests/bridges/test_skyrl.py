"""A meta-episode as an environment of SkyRL, made by its own registry."""

from __future__ import annotations

import pytest

pytest.importorskip("skyrl_gym", reason="needs pip install skyrl-gym")

import skyrl_gym

import metagym
from metagym.bridges.skyrl import ENV_CLASS, register_meta_episodes
from tests.bridges.meta_episodes import OPTIONS, REPLIES, meta_loop_rewards

pytestmark = pytest.mark.bridge


def test_its_environment_has_the_numbers_of_the_meta_loop() -> None:
    register_meta_episodes()
    register_meta_episodes()  # a second time is no error
    env = skyrl_gym.make(ENV_CLASS, env_config={}, extras={"seed": 3, "options": OPTIONS})
    conversation, _ = env.init([])
    assert [message["role"] for message in conversation] == ["system", "user"]
    outputs = [env.step(reply) for reply in REPLIES]
    assert [output["done"] for output in outputs] == [False, False, True]
    assert [len(output["observations"]) for output in outputs] == [1, 1, 0]
    assert [output["reward"] for output in outputs] == [score / 3 for score in meta_loop_rewards(3)]
    assert env.get_metrics() == {f"turn_{number}": output["reward"] for number, output in enumerate(outputs)}
    assert env.max_turns == 3
    env.close()


def test_the_row_may_name_the_environment_and_the_reward() -> None:
    register_meta_episodes()
    config = {"num_turns": 1, "reward": "gain", "num_test": 5}
    extras = {"seed": 1, "meta_env": "metagym.envs.gates.meta:GatesMetaEnv", "options": OPTIONS, "meta_episode": config}
    env = skyrl_gym.make(ENV_CLASS, env_config={}, extras=extras)
    env.init([])
    output = env.step("no prompt")
    assert (output["reward"], output["done"]) == (0.0, True)
    assert output["metadata"]["problem"]
    with pytest.raises(metagym.MetaGymError):
        skyrl_gym.make(ENV_CLASS, env_config={}, extras={"seed": 1, "meta_env": "Nothing-v0"})
    env.close()
