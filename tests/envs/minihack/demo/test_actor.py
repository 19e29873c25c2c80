"""The scripted actor obeys its prompt, and uses a skill only if the prompt names it."""

from __future__ import annotations

import asyncio
from itertools import product

import pytest

from metagym.envs.instructions import read_instructions
from metagym.envs.minihack.demo import DEFAULT_PROMPT, MiniHackDemoActor
from metagym.envs.minihack.demo.vocabulary import CONDITIONS, SKILLS
from metagym.errors import ConfigError
from metagym.types import Episode, Observation, Task
from tests.envs.minihack.bare_loop import play_episode, play_meta_step
from tests.envs.minihack.demo.conftest import EXPLORE, FETCH, WALK, draw

pytestmark = pytest.mark.minihack


# The skill that the family needs comes first.
BEST = {
    "Eat": f"when you hold food, eat it\n{FETCH}",
    "Read": f"when you hold a scroll, read it\n{FETCH}",
    "PutOn": f"when you hold an amulet, put it on\n{FETCH}",
    "Zap": f"when you hold a wand, zap it\n{FETCH}",
    "Wear": f"when you hold a robe, wear it\n{FETCH}",
    "Wield": f"when you hold a dagger, wield it\n{FETCH}",
    "Pray": "when an altar is in sight, pray there",
    "Sink": "when a sink is in sight, drink there",
    "ClosedDoor": f"{EXPLORE}\n{WALK}",
    "LockedDoor": f"when a closed door is in sight, kick it open\n{WALK}",
    "KeyRoom-S5": f"when you hold a key, unlock it\n{WALK}\n{FETCH}\n{EXPLORE}",
    "KeyRoom-Fixed-S5": f"when you hold a key, unlock it\n{WALK}\n{FETCH}\n{EXPLORE}",
}


@pytest.mark.slow
def test_the_default_prompt_instructs_nothing_and_seldom_succeeds(world):
    assert read_instructions(DEFAULT_PROMPT) == ()
    assert play_meta_step(world[0], DEFAULT_PROMPT, draw(world, 40)).reward <= 0.15


@pytest.mark.slow
def test_a_prompt_with_every_instruction_is_far_worse_than_the_best(world):
    tasks = draw(world, 30, seed=1)
    pasted = "\n".join(sorted(f"when {condition}, {skill}" for condition, skill in product(CONDITIONS, SKILLS)))
    best = play_meta_step(world[0], f"{WALK}\n{EXPLORE}", tasks).reward
    assert best >= 0.9
    assert play_meta_step(world[0], pasted, tasks).reward <= best - 0.2


@pytest.mark.parametrize(
    "worse",
    [
        "when the stairs are in sight, search",
        "when the stairs are in sight, walk away",
        f"{WALK}\nwhen the stairs are in sight, search\nwhen the stairs are in sight, wait",
        "when the stairs are in sight, wait\n" * 4 + WALK,
    ],
)
def test_wrong_and_contradictory_instructions_cost_steps(world, worse):
    tasks = draw(world, 12, seed=2, families=["MiniHack-Room-Random-15x15-v0"])
    good, bad = (play_meta_step(world[0], prompt, tasks) for prompt in (WALK, worse))
    assert sum(len(t.steps) for t in bad.trajectories) > sum(len(t.steps) for t in good.trajectories)


def test_actions_follow_from_the_record_alone(world):
    task = draw(world, 1)[0]
    actor = MiniHackDemoActor(slip=0.5)
    trajectory = play_episode(world[0], WALK, task, actor=actor)
    for index, step in enumerate(trajectory.steps):
        again = asyncio.run(actor.act(trajectory.episode, trajectory.steps[:index], step.observation))
        assert again == step.action


def test_slip_is_drawn_from_the_episodes_seed(world):
    task = draw(world, 1)[0]
    played = [play_episode(world[0], WALK, task, actor=MiniHackDemoActor(slip=0.5), seed=s).steps for s in (1, 1, 2)]
    assert played[0] == played[1] != played[2]
    with pytest.raises(ConfigError, match="slip must be a probability"):
        MiniHackDemoActor(slip=1.5)


def test_a_text_without_a_map_gets_an_action():
    episode = Episode(prompt=WALK, task=Task(id="a/1", family="a", split="train", seed=1), seed=1)
    for observation in (Observation(text="Hello", available_actions=("a", "b")), Observation(text="")):
        action = asyncio.run(MiniHackDemoActor().act(episode, (), observation))
        assert action.text in (observation.available_actions or (None,))


@pytest.mark.parametrize("name", BEST)
def test_a_skill_is_used_only_if_the_prompt_names_it(world, name):
    tasks = [world[1].find(f"MiniHack-{name}-v0/{seed}") for seed in range(6)]
    assert play_meta_step(world[0], BEST[name], tasks).reward >= 0.8
    others = "\n".join(BEST[name].split("\n")[1:])
    for prompt in {DEFAULT_PROMPT, others}:
        assert play_meta_step(world[0], prompt, tasks).reward <= 0.2
    commands = {step.command for t in play_meta_step(world[0], DEFAULT_PROMPT, tasks).trajectories for step in t.steps}
    assert not commands & {
        "eat",
        "read",
        "put on",
        "zap",
        "wear",
        "wield",
        "pray",
        "quaff",
        "kick",
        "apply",
        "pick up",
    }
