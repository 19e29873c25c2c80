"""Gates, the meta-environment."""

from __future__ import annotations

from metagym.envs.gates.demo import GatesDemoActor, GatesDemoReflector
from tests.conftest import MakeGates


def test_it_brings_its_own_actor_and_reflector(make_gates: MakeGates) -> None:
    env = make_gates()
    assert isinstance(env.actor, GatesDemoActor)
    assert isinstance(env.make_demo_reflector(), GatesDemoReflector)


def test_by_default_a_meta_episode_keeps_to_one_family(make_gates: MakeGates) -> None:
    env = make_gates()
    env.reset(seed=0)
    families = {item.task.family for _ in range(10) for item in env.step("p")[0]}
    assert len(families) == 1


def test_the_default_prompt_reveals_no_law(make_gates: MakeGates) -> None:
    from metagym.envs.gates.env import GATES, WAYS

    words = make_gates().default_prompt.lower().replace(".", "").split()
    assert not {*GATES, *WAYS} & set(words)
