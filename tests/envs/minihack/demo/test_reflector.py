"""The scripted reflector adds one lesson at a time, with evidence from failed episodes only."""

from __future__ import annotations

import asyncio

import pytest

from metagym.envs.instructions import Instruction, read_instructions
from metagym.envs.minihack.demo import DEFAULT_PROMPT, MiniHackDemoReflector
from metagym.envs.minihack.demo.reflector import apply_change
from metagym.envs.minihack.families import DEFAULT_FAMILIES
from metagym.types import Action, Episode, MetaStep, Observation, Step, StopReason, Task, Trajectory
from tests.envs.minihack.bare_loop import learn, play_meta_step
from tests.envs.minihack.demo.conftest import EXPLORE, FETCH, WALK, draw

pytestmark = pytest.mark.minihack

LESSON_FETCH = Instruction("an item is in sight", "fetch it")


def reflect(*history):
    return asyncio.run(MiniHackDemoReflector().reflect(history))


@pytest.mark.parametrize("seed", range(5))
def test_the_loop_learns_rooms(world, seed):
    history = learn(*world, DEFAULT_FAMILIES, seed=seed, num_steps=6)
    rewards = [meta_step.reward for meta_step in history]
    assert sum(rewards[-3:]) / 3 >= rewards[0] + 0.3


def test_one_instruction_at_most_is_added_at_a_time(world):
    meta_step = play_meta_step(world[0], DEFAULT_PROMPT, draw(world, 12, families=DEFAULT_FAMILIES[:2]))
    reflection = reflect(meta_step)
    assert [str(instruction) for instruction in read_instructions(reflection.prompt)] == [WALK]
    assert reflection.prompt.startswith(DEFAULT_PROMPT)
    assert reflection.scripted
    assert "failed episodes give evidence for" in reflection.analysis


def test_a_wrong_instruction_is_replaced_if_episodes_fail(world):
    tasks = draw(world, 6, families=["MiniHack-Room-Random-5x5-v0"])
    wrong = play_meta_step(world[0], "Go.\n- when the stairs are in sight, search", tasks)
    assert reflect(wrong).prompt == f"Go.\n- {WALK}"


def test_a_won_episode_is_not_evidence(world):
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


@pytest.mark.parametrize("name", ["Read", "PutOn", "Zap", "Pray", "KeyRoom-S5", "ClosedDoor"])
def test_the_loop_learns_keys_doors_and_skills(world, name):
    history = learn(*world, [f"MiniHack-{name}-v0"], seed=0, num_steps=6)
    assert history[0].reward == 0.0
    assert history[-1].reward >= 0.6


@pytest.mark.slow
def test_a_prompt_learned_on_skills_does_not_help_in_rooms(world):
    prompt = learn(*world, ["MiniHack-Read-v0"], seed=0, num_steps=4)[-1].prompt
    tasks = draw(world, 20, seed=3)
    first, taught = (play_meta_step(world[0], p, tasks).reward for p in (DEFAULT_PROMPT, prompt))
    assert taught - first < 0.1


def test_a_lesson_is_added_at_its_place():
    full = f"Go.\n- {WALK}\n- {EXPLORE}"
    assert apply_change(full, added=LESSON_FETCH, dropped=None) == f"Go.\n- {WALK}\n- {FETCH}\n- {EXPLORE}"
    assert apply_change("Go.", added=LESSON_FETCH, dropped=None) == f"Go.\n- {FETCH}"
    walk = read_instructions(WALK)[0]
    assert apply_change(full, added=LESSON_FETCH, dropped=walk) == f"Go.\n- {FETCH}\n- {EXPLORE}"
