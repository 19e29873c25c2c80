"""No content of any world is in two roles, judged by the world itself at the start, and not by the digests of tasks."""

from __future__ import annotations

import importlib.util
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import metagym
from metagym.env import meta_env_of
from metagym.registration import NEEDS, meta_env_ids
from metagym.tasks import ROLES, TaskSet
from metagym.types import Task

Look = Callable[[Any, str, dict[str, Any], Path], object]
"""Returns what a world is at the start of a task: from its inner environment, its first text, its info and a folder."""


def first_view(env: Any, text: str, info: dict[str, Any], folder: Path) -> object:
    return info.get("goal"), text


def road(env: Any, text: str, info: dict[str, Any], folder: Path) -> object:
    return env._level


def map_shown(env: Any, text: str, info: dict[str, Any], folder: Path) -> object:
    return text.partition("Map (")[2].partition("\nYou are at")[0]


def whole_grid(env: Any, text: str, info: dict[str, Any], folder: Path) -> object:
    level = env._level
    things = [None if thing is None else thing.encode() for thing in level.grid.grid]
    return info["goal"], level.grid.width, tuple(map(int, level.agent_pos)), int(level.agent_dir), things


def whole_house(env: Any, text: str, info: dict[str, Any], folder: Path) -> object:
    env._game._games.getObjectTree(str(folder))
    tree = (folder / "objectTree.json").read_text(encoding="utf-8")
    return info["goal"], re.sub(r'"uuid":"\d+"|-\d{3,}(?=":)', "", tree)  # numbers that each start gives anew


def state_of_apis(env: Any, text: str, info: dict[str, Any], folder: Path) -> object:
    state = {name: repr(sorted(vars(api).items())) for name, api in env._world.items()}
    return re.sub(r" at 0x[0-9a-f]+", "", repr(state))


class Sample(NamedTuple):
    """What is drawn of a world."""

    look: Look
    families: tuple[str, ...] | None = None
    """A few that are quick to draw, and have few contents; None means the default ones."""
    num_draws: int = 1_000
    """Tasks of each role."""
    options: Mapping[str, Any] = {}
    mark: str = ""


SAMPLES = {
    "MetaGym/Gates-v0": Sample(road, ("law-0007", "law-1000")),
    "MetaGym/Questions-v0": Sample(first_view),
    # Two rooms of the official games may look alike from their middle; what is in their drawers differs.
    "MetaGym/ALFWorld-v0": Sample(
        first_view, ("look_at_obj_in_light", "pick_heat_then_place_in_recep"), 400, options={"data": "generated"}
    ),
    "MetaGym/MiniHack-v0": Sample(map_shown, ("MiniHack-Room-Random-5x5-v0",), 400, mark="minihack"),
    "MetaGym/BabyAI-v0": Sample(
        whole_grid, ("BabyAI-GoToRedBallNoDists-v0", "BabyAI-GoToObjMazeS4R2-v0"), mark="babyai"
    ),
    "MetaGym/Reasoning-v0": Sample(first_view, ("basic_arithmetic", "gcd"), mark="reasoning"),
    "MetaGym/ScienceWorld-v0": Sample(whole_house, ("melt", "identify-life-stages-1"), mark="java"),
    "MetaGym/TextWorldExpress-v0": Sample(first_view, ("coin",), 40, mark="java"),
    "MetaGym/Tools-v0": Sample(state_of_apis),
}


def marked(name: str) -> Any:
    sample = SAMPLES[name]
    extra, module = NEEDS.get(name, ("", "metagym"))
    missing = pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"needs {extra}")
    marks = [getattr(pytest.mark, sample.mark)] if sample.mark else []
    return pytest.param(name, id=name, marks=[*marks, missing])


def test_each_world_has_a_sample() -> None:
    assert set(SAMPLES) == {name for name in meta_env_ids() if name.startswith("MetaGym/")}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*map(marked, SAMPLES)])
def test_no_content_is_in_two_roles(name: str, tmp_path: Path) -> None:
    sample = SAMPLES[name]
    options = {**sample.options, **({} if sample.families is None else {"families": sample.families})}
    found: dict[str, set[str]] = {role: set() for role in ROLES}
    with metagym.make(name, actor="random", **options) as env:
        world = meta_env_of(env)
        inner = world.make_inner_env()
        for task in drawn(world.task_set, world.families, sample.num_draws):
            text, info = inner.reset(seed=task.seed, options={"task_id": task.id})
            found[task.split].add(json.dumps([task.family, sample.look(inner, text, info, tmp_path)]))
        inner.close()
    assert min(map(len, found.values())) > 1
    for one, other in itertools.combinations(found.values(), 2):
        assert not one & other


def drawn(tasks: TaskSet, families: Sequence[str], num_tasks: int) -> Iterator[Task]:
    """Yield tasks as they come, up to `num_tasks` of each role over all families, or all that there are."""
    for family in families:
        num_left = dict.fromkeys(ROLES, num_tasks // len(families))
        for task in tasks.candidates(family, np.random.default_rng(1)):
            if num_left.get(task.split):
                num_left[task.split] -= 1
                yield task
            if not any(num_left.values()):
                break
