from __future__ import annotations

import asyncio
from itertools import product

import numpy as np
import pytest
from minihack_play import learn, play_episode, play_meta_step

from metagym.envs.instructions import Instruction, read_instructions
from metagym.envs.minihack.demo import DEFAULT_PROMPT, MiniHackDemoActor, MiniHackDemoReflector
from metagym.envs.minihack.demo_conditions import CONDITIONS
from metagym.envs.minihack.demo_lessons import Change, apply_change
from metagym.envs.minihack.demo_skills import SKILLS
from metagym.envs.minihack.engine import GamePool
from metagym.envs.minihack.env import MiniHackTextEnv
from metagym.envs.minihack.families import DEFAULT_FAMILIES
from metagym.envs.minihack.tasks import MiniHackTaskSet
from metagym.errors import ConfigError
from metagym.types import Action, Episode, MetaStep, Observation, Step, StopReason, Task, Trajectory

pytestmark = pytest.mark.minihack

WALK = "when the stairs are in sight, walk to them"
LESSON_FETCH = Instruction("an item is in sight", "fetch it")
EXPLORE = "when the stairs are out of sight, explore"


@pytest.fixture(scope="module")
def world():
    pool = GamePool()
    yield MiniHackTextEnv(pool=pool), MiniHackTaskSet(pool=pool)
    pool.close()


def draw(world, num_tasks, seed=0, families=DEFAULT_FAMILIES):
    return world[1].draw(num_tasks, rng=np.random.default_rng(seed), families=families)


def reflect(*history):
    return asyncio.run(MiniHackDemoReflector().reflect(history))


@pytest.mark.parametrize("seed", range(5))
def test_the_loop_learns_rooms(world, seed):
    history = learn(*world, DEFAULT_FAMILIES, seed=seed, num_steps=6)
    rewards = [meta_step.reward for meta_step in history]
    assert sum(rewards[-3:]) / 3 >= rewards[0] + 0.3


def test_the_default_prompt_instructs_nothing_and_seldom_succeeds(world):
    assert read_instructions(DEFAULT_PROMPT) == ()
    assert play_meta_step(world[0], DEFAULT_PROMPT, draw(world, 40)).reward <= 0.15


def test_every_instruction_pasted_in_is_worse_than_the_best_by_far(world):
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


def test_a_text_without_a_map_is_no_reason_to_fail():
    episode = Episode(prompt=WALK, task=Task(id="a/1", family="a", split="train", seed=1), seed=1)
    for observation in (Observation(text="Hello", available_actions=("a", "b")), Observation(text="")):
        action = asyncio.run(MiniHackDemoActor().act(episode, (), observation))
        assert action.text in (observation.available_actions or (None,))


def test_one_instruction_at_most_is_added_at_a_time(world):
    meta_step = play_meta_step(world[0], DEFAULT_PROMPT, draw(world, 12, families=DEFAULT_FAMILIES[:2]))
    reflection = reflect(meta_step)
    assert [str(instruction) for instruction in read_instructions(reflection.prompt)] == [WALK]
    assert reflection.prompt.startswith(DEFAULT_PROMPT)
    assert reflection.scripted
    assert "failed episodes speak for" in reflection.analysis


def test_a_wrong_instruction_is_replaced_where_episodes_fail_by_it(world):
    tasks = draw(world, 6, families=["MiniHack-Room-Random-5x5-v0"])
    wrong = play_meta_step(world[0], "Go.\n- when the stairs are in sight, search", tasks)
    assert reflect(wrong).prompt == f"Go.\n- {WALK}"


def test_success_is_no_evidence(world):
    tasks = draw(world, 6, families=["MiniHack-Room-Random-5x5-v0"])
    won = play_meta_step(world[0], WALK, tasks)
    assert won.reward == 1.0
    assert reflect(won).prompt == WALK


def test_without_evidence_nothing_is_added(world):
    task = Task(id="a/1", family="a", split="train", seed=1)
    observation = Observation(text="A gate of oak > @ .\nwhen the stairs are in sight", available_actions=("knock",))
    step = Step(observation=observation, action=Action(text="knock"), command="knock", is_valid=True, reward=0.0)
    for steps in ((), (step,) * 20):
        trajectory = Trajectory(
            episode=Episode(prompt=DEFAULT_PROMPT, task=task, seed=1),
            steps=steps,
            final_observation=observation,
            stop_reason=StopReason.STEP_LIMIT,
            success=False,
            score=0.0,
        )
        meta_step = MetaStep(index=0, prompt=DEFAULT_PROMPT, trajectories=(trajectory,) * 5, reward=0.0)
        assert reflect(meta_step).prompt == DEFAULT_PROMPT


FETCH = "when an item is in sight, fetch it"
# The skill that the family asks for stands first.
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


@pytest.mark.parametrize("name", BEST)
def test_a_skill_is_used_only_where_the_prompt_tells(world, name):
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


@pytest.mark.parametrize("name", ["Read", "PutOn", "Zap", "Pray", "KeyRoom-S5", "ClosedDoor"])
def test_the_loop_learns_keys_doors_and_skills(world, name):
    history = learn(*world, [f"MiniHack-{name}-v0"], seed=0, num_steps=6)
    assert history[0].reward == 0.0
    assert history[-1].reward >= 0.6


def test_what_skills_teach_does_not_help_in_rooms(world):
    prompt = learn(*world, ["MiniHack-Read-v0"], seed=0, num_steps=4)[-1].prompt
    tasks = draw(world, 20, seed=3)
    first, taught = (play_meta_step(world[0], p, tasks).reward for p in (DEFAULT_PROMPT, prompt))
    assert taught - first < 0.1


def test_an_instruction_stands_where_it_belongs():
    full = f"Go.\n- {WALK}\n- {EXPLORE}"
    change = Change(added=LESSON_FETCH, dropped=None, reason="")
    assert apply_change(full, change) == f"Go.\n- {WALK}\n- {FETCH}\n- {EXPLORE}"
    assert apply_change("Go.", change) == f"Go.\n- {FETCH}"
    swapped = Change(added=LESSON_FETCH, dropped=read_instructions(WALK)[0], reason="")
    assert apply_change(full, swapped) == f"Go.\n- {FETCH}\n- {EXPLORE}"
