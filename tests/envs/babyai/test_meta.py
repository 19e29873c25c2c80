"""BabyAI's meta-environment: families, roles by content, and BabyAI's bot as the upper bound."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

import metagym
from metagym.envs.babyai.expert import BabyAIExpert
from metagym.envs.babyai.families import DEFAULT_FAMILIES, BabyAITaskSet, families, groups, make_level
from metagym.envs.babyai.meta import BabyAIMetaEnv
from metagym.testing import check_meta_env


@pytest.fixture(scope="module")
def tasks() -> BabyAITaskSet:
    return BabyAITaskSet()


def contents(tasks: BabyAITaskSet, role: str, num: int) -> Iterator[tuple[object, ...]]:
    """Yield the whole levels of drawn tasks, as BabyAI has them."""
    levels = {family: make_level(family) for family in DEFAULT_FAMILIES}
    for task in tasks.draw(num, rng=np.random.default_rng(1), families=DEFAULT_FAMILIES, split=role):
        level = levels[task.family]
        level.reset(seed=task.seed)
        things = [(thing.encode() if thing else None) for thing in level.grid.grid]
        yield task.family, level.mission, tuple(level.agent_pos), level.agent_dir, tuple(things)


@pytest.mark.slow
def test_it_keeps_the_contract_of_a_meta_environment() -> None:
    check_meta_env("MetaGym/BabyAI-v0")


def test_no_level_is_in_two_roles(tasks: BabyAITaskSet) -> None:
    seen = {role: set(contents(tasks, role, 40)) for role in ("train", "validation", "test")}
    for one, other in itertools.combinations(seen.values(), 2):
        assert not one & other
    assert all(len(levels) > 37 for levels in seen.values())


def test_babyais_bot_solves_the_default_families() -> None:
    with metagym.make("MetaGym/BabyAI-v0", actor="demo", episodes_per_step=40) as env:
        _, info = env.reset(seed=3)
        trajectories, reward, *_ = env.step(info["default_prompt"])
        assert reward == 1.0
        assert {item.task.family for item in trajectories} == set(DEFAULT_FAMILIES)
        assert all(item.scripted for item in trajectories)


def test_the_bot_says_that_its_plan_is_over() -> None:
    import asyncio

    from metagym.envs.babyai.expert import plan_of
    from tests.conftest import make_step, make_trajectory

    task_id = f"{DEFAULT_FAMILIES[0]}/1"
    episode = make_trajectory().episode
    episode = episode.model_copy(update={"task": episode.task.model_copy(update={"id": task_id})})
    steps = [make_step()] * len(plan_of(task_id))
    action = asyncio.run(BabyAIExpert().act(episode, steps, steps[0].observation))
    assert (action.text, action.problem) == (None, "The bot has no further action.")


def test_families_are_ids_and_groups_are_kinds_of_missions(tasks: BabyAITaskSet) -> None:
    assert set(DEFAULT_FAMILIES) <= set(families())
    assert not [name for name in families() if "Carrying" in name or "Debug" in name]
    assert groups()["KeyCorridor"] == tuple(name for name in families() if "KeyCorridor" in name)
    assert tasks.expand_families(["GoToLocal"]) == groups()["GoToLocal"]
    assert sum(map(len, groups().values())) == len(families()) == 87


def test_the_fingerprint_names_the_version_that_makes_the_levels() -> None:
    with metagym.make("MetaGym/BabyAI-v0", actor="random") as env:
        assert set(env.unwrapped.inner_fingerprint()["packages"]) == {"minigrid"}


def test_the_kind_of_a_task_is_what_its_mission_does_with_which_objects(tasks: BabyAITaskSet) -> None:
    for family, kinds in (
        ("BabyAI-GoToLocal-v0", {"go ball", "go box", "go key"}),
        ("BabyAI-UnlockLocal-v0", {"open door"}),
    ):
        assert {tasks.find(f"{family}/{seed}").kind for seed in range(20)} == kinds
    assert tasks.names_kinds
    assert BabyAIMetaEnv.names_kinds
