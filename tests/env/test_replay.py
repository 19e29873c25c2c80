"""Replay: the same tasks under several prompts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from metagym import background
from metagym.envs.gates.demo import GatesDemoActor
from metagym.errors import (
    ConfigError,
    InvalidPromptError,
    UnknownNameError,
)
from metagym.testing import ScriptedActor
from metagym.types import Action, Episode, MetaStep, Observation, Step
from tests.conftest import FailingEnv, MakeGates, gates_of
from tests.env.playing import ids_of, played

pytestmark = pytest.mark.timeout(60)


def test_replay_plays_the_same_tasks_under_each_prompt(make_gates: MakeGates) -> None:
    env = make_gates()
    ids = ["law-0001/1", "law-0001/2"]
    group = env.replay(["p", "q", "r"], ids, repetitions=2)
    assert [type(item) for item in group] == [MetaStep] * 3
    assert [item.prompt for item in group] == ["p", "q", "r"]
    for item in group:
        order = [(t.task.id, t.episode.repetition, t.episode.prompt) for t in item.trajectories]
        assert order == [(task_id, repetition, item.prompt) for task_id in ids for repetition in (0, 1)]
        assert item.reward == np.mean(item.scores)


def test_replay_plays_tasks_of_any_split_and_before_a_reset(make_gates: MakeGates) -> None:
    env = make_gates(split="train")
    ids = [env.task_set.draw(1, rng=np.random.default_rng(0), split=s)[0].id for s in ("train", "validation", "test")]
    (meta_step,) = env.replay(["p"], ids)
    assert [item.task.split for item in meta_step.trajectories] == ["train", "validation", "test"]


def test_replay_does_not_disturb_the_meta_episode(make_gates: MakeGates) -> None:
    plain = played(make_gates("random"), 3)
    env = make_gates("random")
    env.reset(seed=0)
    steps = []
    for _ in range(3):
        env.replay(["x", "y"], ["law-0001/1", *(ids_of(steps) or ["law-0002/2"])], repetitions=2)
        steps.append(env.step("p"))
    assert [step[0] for step in steps] == [step[0] for step in plain]


def test_replay_of_the_same_gives_the_same(make_gates: MakeGates) -> None:
    env = make_gates(GatesDemoActor(slip=0.5))
    env.reset(seed=3)
    first = env.replay(["p", "q"], ["law-0001/1", "law-0001/2"], repetitions=3)
    env.step("p")
    second = env.replay(["p", "q"], ["law-0001/1", "law-0001/2"], repetitions=3)
    dumps = [[json.loads(item.model_dump_json(exclude={"index"})) for item in group] for group in (first, second)]
    for item in dumps[0] + dumps[1]:
        for trajectory in item["trajectories"]:
            del trajectory["episode"]["meta_step"]
    assert dumps[0] == dumps[1]


def test_replay_before_a_reset_is_the_same_in_every_environment(make_gates: MakeGates) -> None:
    groups = [make_gates(GatesDemoActor(slip=0.5)).replay(["p"], ["law-0001/1"], repetitions=5) for _ in range(2)]
    assert groups[0] == groups[1]


def test_one_task_played_and_won_three_times_scores_one(make_gates: MakeGates) -> None:
    env = make_gates(ScriptedActor(["knock"]))
    (meta_step,) = env.replay(["p"], ["law-0000/1"], repetitions=3)
    assert (meta_step.reward, meta_step.scores) == (1.0, (1.0, 1.0, 1.0))
    (meta_step,) = env.replay(["p"], ["law-0000/1"] * 3)
    assert (meta_step.reward, meta_step.scores) == (1.0, (1.0, 1.0, 1.0))
    assert [item.episode.repetition for item in meta_step.trajectories] == [0, 1, 2]


def test_replay_records_what_the_apparatus_failed_on_and_raises_nothing(make_gates: MakeGates) -> None:
    env = make_gates(cls=gates_of(lambda env: FailingEnv(env, lambda task_id: task_id == "law-0000/1")))
    (meta_step,) = env.replay(["p"], ["law-0000/1", "law-0000/2"])
    assert meta_step.scores[0] is None
    assert meta_step.reward == meta_step.scores[1]
    (meta_step,) = env.replay(["p"], ["law-0000/1"])
    assert meta_step.reward is None


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        ((["p", 3], ["law-0000/1"]), InvalidPromptError, "expected a str, got int"),
        (("p", ["law-0000/1"]), ConfigError, "replay expects a list of prompts and a non-empty list of task ids"),
        ((["p"], "law-0000/1"), ConfigError, "replay expects a list of prompts"),
        ((["p"], []), ConfigError, "replay expects a list of prompts"),
        ((None, ["law-0000/1"]), ConfigError, r"replay expects .*, got None and \['law-0000/1'\]. Write env.replay"),
        (
            ((prompt for prompt in "p"), ["law-0000/1"]),
            ConfigError,
            "replay expects a list of prompts .*, got <generator",
        ),
        ((["p"], ["law-9999/1"]), UnknownNameError, "Unknown task id"),
    ],
)
def test_wrong_replays_are_typed_errors_and_play_nothing(
    make_gates: MakeGates, arguments: Any, error: type[Exception], told: str
) -> None:
    env = make_gates()
    with pytest.raises(error, match=told):
        env.replay(*arguments)
    for repetitions in (0, 1.5, "2", True):
        with pytest.raises(
            ConfigError, match=f"repetitions must be a whole number and at least 1, got {repetitions!r}"
        ):
            env.replay(["p"], ["law-0000/1"], repetitions=repetitions)  # type: ignore[arg-type]
    with pytest.raises(error, match=told):
        background.run(env.replay_async(*arguments))
    assert env.ledger.num_episodes == 0


def test_replay_from_the_callers_own_loop_plays_on_the_loop_of_all_other_steps(make_gates: MakeGates) -> None:
    """Worker processes and connections belong to the loop that first used them."""

    class Noting(GatesDemoActor):
        async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
            loops.add(asyncio.get_running_loop())
            return await super().act(episode, steps, observation)

    loops: set[asyncio.AbstractEventLoop] = set()
    env = make_gates(Noting())
    env.reset(seed=3)
    env.step("p")
    asyncio.run(env.replay_async(["p"], ["law-0001/1"]))
    assert len(loops) == 1


def test_replay_from_async_code_is_a_replay_with_chance_of_its_own(make_gates: MakeGates) -> None:
    env = make_gates(GatesDemoActor(slip=0.5))
    env.reset(seed=3)
    env.step("p")
    ids = ["law-0001/1", "law-0001/2"]
    again = [background.run(env.replay_async(["p", "q"], ids, repetitions=3)) for _ in range(2)]
    assert again[0] == again[1]
    plain = env.replay(["p", "q"], ids, repetitions=3)
    for own, other in zip(again[0], plain, strict=True):
        assert (own.prompt, own.reward) == (other.prompt, np.mean(own.scores))
        assert [item.task for item in own.trajectories] == [item.task for item in other.trajectories]
        assert [item.episode.repetition for item in own.trajectories] == [0, 1, 2] * 2
        assert not {t.episode.seed for t in own.trajectories} & {t.episode.seed for t in other.trajectories}
    # The meta-step that was finished last is what a reflector learns from, so that is where it is booked.
    assert {item.index for item in again[0]} == {0}
    assert {item.index for item in plain} == {1}
