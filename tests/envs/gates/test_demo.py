"""The demo: it learns what the trajectories teach, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import pytest

from metagym import optimize
from metagym.envs.gates.demo import GatesDemoActor, GatesDemoReflector, gate_in
from metagym.envs.gates.env import FAMILIES, law_of
from metagym.envs.gates.meta import GatesMetaEnv
from metagym.envs.instructions import read_instructions
from metagym.errors import ConfigError
from metagym.types import Action, MetaStep, Observation
from tests.conftest import make_episode, make_meta_step, make_step, make_trajectory

WAYS = ("wait", "push", "knock")


def act(prompt: str, *, gate: str = "oak", tried: Sequence[str] = (), slip: float = 0.0, seed: int = 0) -> Action:
    text = f"You stand before the {gate} gate, the first of four."
    steps = [make_step(text, way) for way in tried]
    observation = Observation(text=text, available_actions=WAYS)
    return asyncio.run(GatesDemoActor(slip=slip).act(make_episode(prompt, seed=seed), steps, observation))


# The actor --------------------------------------------------------------------------------------------


def test_it_obeys_the_instructions_for_the_gate_each_once_and_then_tries_the_rest() -> None:
    prompt = "when the gate is iron, wait\nwhen the gate is oak, knock\nwhen the gate is oak, push"
    assert act(prompt).text == "knock"
    assert act(prompt, tried=["knock"]).text == "push"
    assert act(prompt, tried=["knock", "push"]).text == "wait"
    assert act(prompt, gate="glass").text == "wait"


def test_it_obeys_at_most_four_instructions() -> None:
    four = "\n".join(f"when the gate is {gate}, wait" for gate in ("iron", "stone", "glass", "lead"))
    assert act(f"{four}\nwhen the gate is oak, knock").text == "wait"
    assert act(f"when the gate is oak, knock\n{four}").text == "knock"


def test_an_unknown_way_is_tried_once_and_the_episode_continues() -> None:
    assert act("when the gate is oak, dance").text == "dance"
    assert act("when the gate is oak, dance", tried=["dance"]).text == "wait"


def test_after_all_ways_were_tried_it_still_acts() -> None:
    assert act("", tried=WAYS).text == "wait"


def test_slip_depends_on_the_episodes_seed_alone() -> None:
    prompt = "when the gate is oak, knock"
    drawn = [[act(prompt, slip=0.5, seed=seed).text for seed in range(60)] for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert 0.4 < np.mean([text == "knock" for text in drawn[0]]) < 0.9
    assert {act(prompt, slip=0.0, seed=seed).text for seed in range(20)} == {"knock"}


def test_slip_differs_from_repetition_to_repetition_and_repeats_with_the_run() -> None:
    def scores() -> Any:
        env = GatesMetaEnv(GatesDemoActor(slip=0.5))
        env.reset(seed=0)
        prompt = "\n".join(
            f"when the gate is {gate}, {way}"
            for gate, way in zip(("oak", "iron", "stone", "glass"), law_of("law-0007").opens, strict=True)
        )
        return env.replay([prompt], ["law-0007/1"], repetitions=20)[0].scores

    first = scores()
    assert len(set(first)) == 2
    assert scores() == first


@pytest.mark.parametrize("slip", [-0.1, 1.1])
def test_slip_must_be_a_probability(slip: float) -> None:
    with pytest.raises(ConfigError, match=r"slip must be a probability from 0 to 1, got"):
        GatesDemoActor(slip=slip)


def test_gate_in_finds_the_gate_in_front_of_the_traveller() -> None:
    assert gate_in("You knock. The oak gate opens. You stand before the glass gate, the last of four.") == "glass"
    assert gate_in("Dusk falls.") == ""


# The reflector ----------------------------------------------------------------------------------------


def reflect(prompt: str, *texts: str) -> str:
    trajectory = make_trajectory([make_step(text) for text in texts])
    reflection = asyncio.run(GatesDemoReflector().reflect([make_meta_step([trajectory], prompt=prompt)]))
    assert reflection.scripted
    return reflection.prompt


def test_it_adds_one_instruction_per_meta_step_for_the_gate_that_opened_most_often() -> None:
    texts = ["You knock. The oak gate opens.", "You push. The iron gate opens.", "You push. The iron gate opens."]
    assert reflect("Go.", *texts) == "Go.\n- when the gate is iron, push"


def test_it_drops_an_instruction_that_was_seen_to_fail() -> None:
    prompt = "Go.\n- when the gate is oak, wait\n- when the gate is iron, push"
    assert reflect(prompt, "You wait. The oak gate stays shut.") == "Go.\n- when the gate is iron, push"


def test_without_experience_it_changes_nothing() -> None:
    assert reflect("Go.\n- when the gate is oak, wait") == "Go.\n- when the gate is oak, wait"


@pytest.mark.parametrize("seed", range(5))
def test_the_demo_gains_at_least_three_tenths(seed: int) -> None:
    with gymnasium.make("MetaGym/Gates-v0", actor="demo") as env:
        rewards = optimize(env, GatesDemoReflector(), 10, seed=seed).rewards
    assert np.mean(rewards[-3:]) >= rewards[0] + 0.3


def test_fed_with_its_own_trajectories_it_gains_far_more_than_the_controls(family_pairs: list[tuple[str, str]]) -> None:
    """With the family's own trajectories the test score rises far; this is what the two controls compare to."""
    assert np.mean([gain(family, family) for family, _ in family_pairs]) > 0.5


def test_fed_with_empty_trajectories_it_gains_less_than_a_tenth(family_pairs: list[tuple[str, str]]) -> None:
    assert np.mean([gain(family, None) for family, _ in family_pairs]) < 0.1


def test_fed_with_the_trajectories_of_another_law_it_gains_less_than_a_tenth(
    family_pairs: list[tuple[str, str]],
) -> None:
    assert np.mean([gain(family, other) for family, other in family_pairs]) < 0.1


@pytest.fixture
def family_pairs() -> list[tuple[str, str]]:
    """Twelve families, each with another one."""
    drawn = np.random.default_rng(0).choice(len(FAMILIES), size=(12, 2), replace=False)
    return [(FAMILIES[a], FAMILIES[b]) for a, b in drawn]


def gain(family: str, experience: str | None) -> float:
    """Learn from `experience` for eight meta-steps; return last prompt minus first, on test tasks of `family`."""
    reflector = GatesDemoReflector()
    env = GatesMetaEnv("demo", families=[experience or family], episodes_per_step=5)
    _, info = env.reset(seed=0)
    prompt = info["default_prompt"]
    for index in range(8):
        trajectories, reward, *_ = env.step(prompt)
        if experience is None:
            trajectories = tuple(t.model_copy(update={"steps": (), "final_observation": None}) for t in trajectories)
        meta_step = MetaStep(index=index, prompt=prompt, trajectories=trajectories, reward=reward)
        prompt = asyncio.run(reflector.reflect([meta_step])).prompt
    tests = env.task_set.draw(15, rng=np.random.default_rng(1), families=[family], split="test")
    first, last = env.replay([info["default_prompt"], prompt], [task.id for task in tests])
    env.close()
    assert first.reward is not None
    assert last.reward is not None
    assert len(read_instructions(prompt, limit=None)) <= 4
    return last.reward - first.reward
