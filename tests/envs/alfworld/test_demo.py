"""The demo uses a skill only if the prompt names it, and takes lessons only from the texts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from metagym.envs.alfworld.demo import LESSONS, ALFWorldDemoActor, ALFWorldDemoReflector, skills_for
from metagym.envs.alfworld.families import FAMILIES
from metagym.envs.alfworld.generated.games import task_id
from metagym.envs.alfworld.meta import ALFWorldMetaEnv
from metagym.envs.gates.meta import GatesMetaEnv
from metagym.envs.instructions import Instruction, write_instructions
from metagym.optimizers.meta_loop import optimize
from metagym.types import MetaStep, Observation, Reflection, Trajectory
from tests.conftest import make_episode, make_meta_step, make_trajectory

NEEDED = {
    "pick_and_place_simple": (),
    "look_at_obj_in_light": ("lamp",),
    "pick_clean_then_place_in_recep": ("clean",),
    "pick_heat_then_place_in_recep": ("heat",),
    "pick_cool_then_place_in_recep": ("cool",),
    "pick_two_obj_and_place": ("second",),
}


def prompt_of(*skills: str) -> str:
    return f"Do your task.\n{write_instructions(LESSONS[skill] for skill in skills)}"


def play_prompt(prompt: str, families: Sequence[str], *, actor: object = "demo", num_tasks: int = 12) -> MetaStep:
    with ALFWorldMetaEnv(actor, data="generated", families=list(families)) as env:  # type: ignore[arg-type]
        env.reset(seed=0)
        names = [task_id(family, seed) for family in families for seed in range(num_tasks // len(families))]
        (meta_step,) = env.replay([prompt], names)
    return meta_step


def reflect(*trajectories: Trajectory, prompt: str = "Do your task.") -> Reflection:
    return asyncio.run(ALFWorldDemoReflector().reflect([make_meta_step(trajectories, prompt=prompt)]))


# The actor --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES[1:])
def test_a_family_is_lost_without_its_skill_and_mostly_won_with_it(family: str) -> None:
    others = [skill for skill in LESSONS if skill not in ("open", *NEEDED[family])]
    assert play_prompt(prompt_of("open", *others[:3]), [family]).reward == 0.0
    assert (play_prompt(prompt_of("open", *NEEDED[family]), [family]).reward or 0) >= 0.9


def test_nothing_is_opened_unless_the_prompt_says_so() -> None:
    for prompt, opened in ((prompt_of(), False), (prompt_of("open"), True)):
        meta_step = play_prompt(prompt, ["pick_and_place_simple"])
        commands = {step.command for item in meta_step.trajectories for step in item.steps if step.command}
        assert any(command.startswith("open ") for command in commands) == opened


def test_only_four_instructions_are_read() -> None:
    prompt = prompt_of("open", "clean", "heat", "cool", "second")
    assert play_prompt(prompt, ["pick_two_obj_and_place"]).reward == 0.0


def test_a_wrong_instruction_is_obeyed_and_loses() -> None:
    wrong = Instruction("the task says hot or heat", LESSONS["cool"].do)
    prompt = f"{write_instructions([LESSONS['open'], LESSONS['heat'], wrong])}"
    assert skills_for([LESSONS["heat"], wrong], "heat some egg and put it in sinkbasin.") == ["heat", "cool"]
    assert play_prompt(prompt, ["pick_heat_then_place_in_recep"]).reward == 0.0


def test_every_action_of_the_demo_is_available() -> None:
    meta_step = play_prompt(prompt_of("open", "clean", "heat", "second"), FAMILIES)
    assert all(step.is_valid for trajectory in meta_step.trajectories for step in trajectory.steps)


def test_slip_is_a_probability_and_drawn_from_the_episodes_seed() -> None:
    with pytest.raises(ValueError, match="slip must be a probability"):
        ALFWorldDemoActor(slip=1.5)
    actor, family = ALFWorldDemoActor(slip=0.3), ["pick_and_place_simple"]
    first = play_prompt(prompt_of("open"), family, actor=actor)
    assert first.trajectories == play_prompt(prompt_of("open"), family, actor=actor).trajectories
    assert first.trajectories != play_prompt(prompt_of("open"), family).trajectories


def test_an_unreadable_task_gives_an_action_with_a_problem() -> None:
    seen = Observation(text="A room.", goal="sing a song", available_actions=("sing",))
    action = asyncio.run(ALFWorldDemoActor().act(make_episode(), [], seen))
    assert (action.text, action.problem) == (None, "I do not understand this task.")


# The reflector ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_the_demo_gains_three_tenths_in_ten_meta_steps(seed: int) -> None:
    with ALFWorldMetaEnv("demo", data="generated") as env:
        result = optimize(env, env.make_demo_reflector(), 10, seed=seed)
    assert sum(result.rewards[-3:]) / 3 - result.rewards[0] >= 0.3


@pytest.mark.parametrize("family", FAMILIES[1:])
def test_the_added_lesson_is_the_skill_that_failed_episodes_lacked(family: str) -> None:
    meta_step = play_prompt(prompt_of("open"), [family])
    reflection = reflect(*meta_step.trajectories, prompt=prompt_of("open"))
    assert reflection.prompt == prompt_of("open", *NEEDED[family])


def test_at_most_one_instruction_is_added_and_four_are_enough() -> None:
    meta_step = play_prompt(prompt_of(), FAMILIES)
    once = reflect(*meta_step.trajectories, prompt=prompt_of())
    assert len(once.prompt.splitlines()) == len(prompt_of().splitlines()) + 1
    full = prompt_of("clean", "heat", "cool", "lamp")
    assert reflect(*meta_step.trajectories, prompt=full).prompt == full


def test_no_trajectories_or_foreign_ones_change_nothing() -> None:
    assert reflect().prompt == "Do your task."
    assert reflect(make_trajectory(success=False)).prompt == "Do your task."
    with GatesMetaEnv("demo") as gates:
        gates.reset(seed=0)
        trajectories, *_ = gates.step(gates.default_prompt)
    assert reflect(*trajectories).prompt == "Do your task."


def test_an_instruction_that_does_harm_is_dropped() -> None:
    wrong = Instruction("the task says hot or heat", LESSONS["cool"].do)
    prompt = f"Do your task.\n{write_instructions([LESSONS['open'], wrong])}"
    meta_step = play_prompt(prompt, ["pick_heat_then_place_in_recep"])
    kept = reflect(*meta_step.trajectories, prompt=prompt)
    assert kept.prompt == prompt_of("open", "heat")
    assert str(wrong) in kept.analysis


def test_an_instruction_that_the_actor_does_not_know_is_dropped() -> None:
    assert reflect(prompt="Be kind.\n- when in doubt, sing").prompt == "Be kind."
