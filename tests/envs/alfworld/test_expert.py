"""The text player reads every template's goal, and with all skills it wins every family."""

from __future__ import annotations

import pytest

from metagym.envs.alfworld.catalogue import GameCatalogue
from metagym.envs.alfworld.env import ALFWorldTextEnv
from metagym.envs.alfworld.expert import ALFWorldExpert, Goal, read_goal
from metagym.envs.alfworld.families import FAMILIES
from metagym.envs.alfworld.generated.games import task_id
from metagym.envs.alfworld.generated.rooms import read_pack
from metagym.envs.alfworld.meta import ALFWorldMetaEnv


def test_every_sentence_of_the_templates_is_read() -> None:
    states = {"clean": "clean", "heat": "heat", "cool": "cool"}
    for family, templates in read_pack().sentences.items():
        for template in templates:
            goal = read_goal(template.format(obj="mug", recep="desk", toggle="desklamp") + ".")
            is_lamp = family == "look_at_obj_in_light"
            assert goal == Goal(
                target="mug",
                place="" if is_lamp else "desk",
                treatment=next((verb for word, verb in states.items() if f"_{word}_" in family), ""),
                lamp="desklamp" if is_lamp else "",
                number=2 if "two" in family else 1,
            )
    assert read_goal("sing a song") is None


@pytest.mark.parametrize("family", FAMILIES)
def test_the_expert_wins_every_family_from_observations_alone(family: str) -> None:
    with ALFWorldMetaEnv(ALFWorldExpert(), data="generated") as env:
        (meta_step,) = env.replay([""], [task_id(family, seed) for seed in range(12)])
    won = [trajectory.success for trajectory in meta_step.trajectories]
    assert sum(map(bool, won)) >= 11  # of 12, within 50 steps; the others need a few more
    assert all(step.is_valid for trajectory in meta_step.trajectories for step in trajectory.steps)


def test_the_expert_wins_official_games(official: GameCatalogue) -> None:
    names = official.listing().playable[::29]
    with ALFWorldMetaEnv(ALFWorldExpert(), data="official", data_dir=str(official.folder), max_steps=80) as env:
        (meta_step,) = env.replay([""], names)
    assert meta_step.reward == 1.0


def test_the_expert_plays_either_spelling() -> None:
    catalogue = GameCatalogue(data="generated")
    name = task_id("pick_two_obj_and_place", 1)
    game = catalogue.game(name)
    old = game.wording._replace(put_command="put {o} in/on {r}", put_feedback="You put the {o} in/on the {r}.")
    catalogue.game = lambda task_id: game._replace(wording=old)  # type: ignore[method-assign]
    env = ALFWorldTextEnv(catalogue=catalogue)
    assert env.reset(options={"task_id": name})[1]["success"] is False
    with ALFWorldMetaEnv(ALFWorldExpert(), data="generated") as meta:
        meta.catalogue = catalogue
        (meta_step,) = meta.replay([""], [name])
    assert meta_step.reward == 1.0
    assert "put " in str([step.command for step in meta_step.trajectories[0].steps])
