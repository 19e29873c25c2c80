"""MiniHack as a meta-environment."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest

import metagym
from metagym.envs.minihack.engine import GamePool
from metagym.envs.minihack.env import MiniHackTextEnv
from metagym.envs.minihack.families import DEFAULT_FAMILIES, GROUPS
from metagym.envs.minihack.meta import MiniHackMetaEnv
from metagym.errors import ConfigError
from metagym.testing import FakeChatModel, check_text_env

pytestmark = pytest.mark.minihack


def test_a_group_may_be_used_in_place_of_its_families() -> None:
    with MiniHackMetaEnv(actor="demo", families=["Door", "MiniHack-Read-v0"]) as env:
        assert len(env.families) == 4


def test_by_default_a_mix_of_families_is_played() -> None:
    with MiniHackMetaEnv(actor="random", episodes_per_step=12) as env:
        env.reset(seed=0)
        trajectories, *_ = env.step("Walk.")
    assert {item.task.family for item in trajectories} == set(DEFAULT_FAMILIES)


@pytest.mark.parametrize("goal", ["none", "family", "paper_task_line"])
def test_the_id_is_shown_only_on_request(goal: str) -> None:
    model = FakeChatModel(["Action: step n"])
    with MiniHackMetaEnv(
        metagym.ChatActor(model), goal=goal, families=["MiniHack-Eat-v0"], episodes_per_step=1, max_steps=3
    ) as env:
        env.reset(seed=0)
        env.step(env.default_prompt)
    said = "\n".join(message["content"] for messages, _ in model.calls for message in messages)
    assert ("MiniHack-Eat-v0" in said) == (goal == "paper_task_line")
    assert ("apple" in said.partition("Inventory")[0]) == (goal == "family")


@pytest.mark.slow
def test_worker_processes_give_the_same_trajectories() -> None:
    def play(workers: object) -> list[str]:
        with MiniHackMetaEnv(actor="demo", workers=workers, episodes_per_step=6) as env:
            env.reset(seed=1)
            batch, *_ = env.step("- when the stairs are in sight, walk to them")
            return [item.model_dump_json() for item in batch]

    assert play(2) == play("local")


def test_games_are_made_before_a_model_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    prepare = GamePool.prepare
    monkeypatch.setattr(GamePool, "prepare", lambda pool, names: made.extend(names) or prepare(pool, made))

    async def walk(episode: object, steps: object, observation: object) -> str:
        return "step n"

    with MiniHackMetaEnv(walk, episodes_per_step=5, max_steps=2) as env:
        env.reset(seed=0)
        env.step("a")
        env.step("b")
    assert len(made) == 5


def test_the_options_of_the_text_are_in_the_fingerprint() -> None:
    def fingerprint(**options: object) -> str:
        env = gym.make("MetaGym/MiniHack-v0", actor="demo", **options)
        _, info = env.reset(seed=0)
        env.close()
        return str(info["fingerprint"])

    assert (
        len({fingerprint(), fingerprint(goal="none"), fingerprint(parts=["map"]), fingerprint(auto_answer=True)}) == 4
    )


@pytest.mark.parametrize("family", [members[0] for members in GROUPS.values()])
def test_one_family_of_each_group_passes_the_checks(family: str) -> None:
    check_text_env(MiniHackTextEnv(families=[family]))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"parts": ["map", "xx", "yy"]}, "Unknown part of the text 'xx'"),
        ({"goal": "x"}, "Unknown goal 'x'"),
        ({"rewards": "x"}, "Unknown rewards 'x'"),
        ({"parts": "map"}, r"parts must be a list of names, got 'map'\. Write parts=\['map'\]"),
    ],
)
def test_an_option_of_the_inner_environment_is_checked_at_once(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        MiniHackMetaEnv("demo", **options)
