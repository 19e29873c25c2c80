"""Reflectors that play their own rollouts: bound, recorded, booked, guarded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metagym import ChatActor, evaluate, optimize
from metagym.errors import BudgetExceededError, LeakError
from metagym.evaluation import EvaluationConfig
from metagym.evaluation.controls import ChangedExperience, take_away
from metagym.reflectors import FixedReflector, Replay
from metagym.runs import LOG, Manifest, RunFolder
from metagym.testing import FakeChatModel
from metagym.types import MetaStep, Reflection
from tests.conftest import MakeGates


class Rollouts:
    """Replays the last batch twice, and writes the results into its memory."""

    def __init__(self, replay: Replay | None = None, task_ids: Sequence[str] | None = None) -> None:
        self.replay, self.task_ids = replay, task_ids

    def bound_to(self, replay: Replay) -> Rollouts:
        return Rollouts(replay, self.task_ids)

    async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
        assert self.replay is not None
        last = history[-1]
        task_ids = self.task_ids or [item.task.id for item in last.trajectories]
        (group,) = await self.replay([last.prompt], task_ids, repetitions=2)
        seeds = [item.episode.seed for item in group.trajectories]
        arms = sorted({item.episode.arm for item in group.trajectories})
        about = {"index": group.index, "seeds": seeds, "arms": arms, "scores": group.scores}
        return Reflection(prompt=f"prompt {len(history)}", memory=about)


def test_optimize_binds_a_reflector_to_its_environment(make_gates: MakeGates) -> None:
    env = make_gates("random", episodes_per_step=3)
    history = optimize(env, Rollouts(), 3, seed=0).history
    memories = [item.reflection.memory for item in history if item.reflection is not None]
    assert [memory["index"] for memory in memories] == [0, 1]
    assert [len(set(memory["seeds"])) for memory in memories] == [6, 6]
    played = {item.episode.seed for meta_step in history for item in meta_step.trajectories}
    assert not played & {seed for memory in memories for seed in memory["seeds"]}
    assert env.ledger.num_episodes == 3 * (3 + 6)
    assert optimize(make_gates("random", episodes_per_step=3), Rollouts(), 3, seed=0).history == history


def test_rollouts_draw_no_tasks(make_gates: MakeGates) -> None:
    def tasks(reflector: Any) -> list[list[str]]:
        history = optimize(make_gates("random"), reflector, 3, seed=4).history
        return [[item.task.id for item in meta_step.trajectories] for meta_step in history]

    assert tasks(Rollouts()) == tasks(FixedReflector())


def test_rollouts_are_recorded_and_not_played_again(make_gates: MakeGates, tmp_path: Path) -> None:
    manifest = Manifest(env_id="x", env_options={}, reflector="r", seed=0, num_steps=2)

    def run() -> tuple[Any, int]:
        env = make_gates("random", episodes_per_step=3)
        place = tmp_path / "run"
        with RunFolder.open(place, writing=True) if place.exists() else RunFolder.create(place, manifest) as folder:
            env.record_to(folder)
            return optimize(env, Rollouts(), 2, seed=0), env.ledger.num_episodes

    first, num_episodes = run()
    assert num_episodes == 2 * (3 + 6)
    assert run() == (first, 0)  # reflections are made again, from the recorded rollouts


def test_evaluate_gives_each_meta_episode_its_own_rollouts(make_gates: MakeGates) -> None:
    seen: list[dict[str, Any]] = []

    class Noting(Rollouts):
        def bound_to(self, replay: Replay) -> Noting:
            return Noting(replay)

        async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
            reflection = await super().reflect(history)
            seen.append(reflection.memory)
            return reflection

    config = EvaluationConfig(families=("law-0007", "law-0100"), num_steps=2, num_seeds=2, num_validation=2, num_test=2)
    evaluate(make_gates("random"), Noting(), config=config)
    assert len(seen) == 8
    assert {memory["arms"][0] for memory in seen} == {
        f"reflector/{family}/{seed}/rollouts-0" for family in config.families for seed in (0, 1)
    }
    assert len({seed for memory in seen for seed in memory["seeds"]}) == 8 * 10


def test_an_evaluation_stopped_in_a_reflection_resumes_from_its_rollouts(make_gates: MakeGates, tmp_path: Path) -> None:
    class Stopping(Rollouts):
        """Fails in its second reflection, after its rollouts."""

        stops = True
        fingerprint = {"kind": "Stopping"}

        def bound_to(self, replay: Replay) -> Stopping:
            return type(self)(replay)

        async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
            reflection = await super().reflect(history)
            if len(history) == 2 and self.stops:
                raise KeyError("stop")
            return reflection

    class Going(Stopping):
        stops = False

    config = EvaluationConfig(families=("law-0007",), num_steps=3, num_seeds=2, num_validation=2, num_test=2)
    whole = evaluate(make_gates("random"), Going(), config=config)
    with pytest.raises(KeyError):
        evaluate(make_gates("random"), Stopping(), config=config, path=tmp_path / "e")
    env = make_gates("random")
    again = evaluate(env, Going(), config=config, path=tmp_path / "e")
    assert again.prompts == whole.prompts
    assert again.overall == whole.overall
    lines = [
        json.loads(line)["record"] for line in (tmp_path / "e" / LOG).read_text().splitlines() if '"episode"' in line
    ]
    played = [json.dumps(line["episode"]) for line in lines if "steps" in line]
    assert len(played) > 2 * 3 * 5
    assert len(played) == len(set(played))


def test_rollouts_of_validation_tasks_are_refused(make_gates: MakeGates) -> None:
    env = make_gates("random")
    (task,) = env.task_set.draw(1, rng=np.random.default_rng(0), families=["law-0007"], split="validation")
    config = EvaluationConfig(families=("law-0007",), num_steps=1, num_seeds=1, num_validation=2, num_test=2)
    with pytest.raises(LeakError, match=r"sees? none of the validation tasks"):
        evaluate(env, Rollouts(task_ids=[task.id]), config=config)


def test_the_controls_change_the_rollouts_as_well(make_gates: MakeGates) -> None:
    control = ChangedExperience(Rollouts(), take_away, name="empty experience")
    history = optimize(make_gates("random"), control, 2, seed=0).history
    assert history[1].reflection is not None
    assert history[1].reflection.memory["scores"] == [None] * 10


def test_rollouts_are_booked_as_learning_with_the_meta_step_that_they_learn_from(make_gates: MakeGates) -> None:
    env = make_gates(ChatActor(FakeChatModel(["Action: knock"])), episodes_per_step=2, max_steps=1)
    optimize(env, Rollouts(), 2, seed=0)

    def num_calls(meta_step: int) -> int:
        return env.ledger.spent(role="actor", purpose="learning", meta_step=meta_step).usage.num_calls

    assert [num_calls(0), num_calls(1)] == [2 + 2 * 2, 2 + 2 * 2]
    assert env.ledger.spent().usage.num_calls == 12


def test_rollouts_end_when_the_budget_is_spent(make_gates: MakeGates) -> None:
    model = FakeChatModel(["Action: knock"])
    env = make_gates(ChatActor(model), episodes_per_step=2, max_steps=2, budget={"calls": 7})
    with pytest.raises(BudgetExceededError) as raised:
        optimize(env, Rollouts(), 3, seed=0)
    assert len(raised.value.history) == 1
    assert env.ledger.spent().usage.num_calls == 7
