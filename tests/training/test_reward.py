"""MetaReward: the same batch replayed under each candidate, a group in one engine run."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from metagym.envs.gates.env import GATES, GatesEnv, law_of
from metagym.errors import ConfigError
from metagym.rollout import RolloutEngine
from metagym.tasks import ListedTaskSet
from metagym.training.reward import MetaReward, RewardConfig
from metagym.training_demo.gates_problem import GradedGatesMetaEnv, prompt_of
from metagym.types import Completion, MetaStep, Task
from tests.conftest import FailingEnv, MakeGates, gates_of, make_meta_step

LAW = "law-0007"
TASKS = [f"{LAW}/{seed}" for seed in (1, 2, 3)]


def right_prompt(num_gates: int = 4) -> str:
    ways = dict(zip(GATES, law_of(LAW).opens, strict=True))
    return prompt_of({gate: ways[gate] for gate in GATES[:num_gates]})


def reply(prompt: str) -> str:
    return f"ANALYSIS: so.\nIMPROVED PROMPT:\n{prompt}"


def played(env: Any) -> MetaStep:
    (meta_step,) = env.replay([env.default_prompt], TASKS)
    return meta_step


def test_the_reward_is_the_mean_score_of_the_same_batch_under_the_new_prompt(make_gates: MakeGates) -> None:
    env = make_gates()
    before = played(env)
    texts = [reply(right_prompt(count)) for count in range(1, 5)]
    expected = [env.replay([right_prompt(count)], TASKS)[0].reward for count in range(1, 5)]
    assert MetaReward(env)(before, texts) == expected
    assert expected[-1] == 1.0


def test_a_group_is_played_in_one_engine_run(make_gates: MakeGates, monkeypatch: pytest.MonkeyPatch) -> None:
    env = make_gates()
    before = played(env)
    runs: list[int] = []
    run = RolloutEngine.run

    async def counted(self: RolloutEngine, episodes: Any, **options: Any) -> Any:
        runs.append(len(episodes))
        return await run(self, episodes, **options)

    monkeypatch.setattr(RolloutEngine, "run", counted)
    episodes_before = env.ledger.num_episodes
    MetaReward(env)(before, [reply(f"Try {number}.") for number in range(8)])
    assert runs == [8 * len(TASKS)]
    assert env.ledger.num_episodes - episodes_before == 8 * len(TASKS)


def test_equal_candidates_get_equal_rewards_at_every_call(make_gates: MakeGates) -> None:
    env = make_gates()
    before, reward = played(env), MetaReward(env)
    texts = [reply(right_prompt(2)), reply(right_prompt(2)), reply(right_prompt(4))]
    first = reward(before, texts)
    assert first[0] == first[1]
    assert reward(before, texts) == first


def test_rewards_do_not_depend_on_the_meta_episode_that_the_environment_is_in(make_gates: MakeGates) -> None:
    env, fresh = make_gates("random", max_steps=6), make_gates("random", max_steps=6)
    before = played(fresh)
    env.reset(seed=5)
    env.step("Walk on.")
    replies = [reply(f"Try {number}.") for number in range(4)]
    found, expected = (MetaReward(each).rewarded(before, replies) for each in (env, fresh))
    assert [item.meta_step.trajectories for item in found] == [item.meta_step.trajectories for item in expected]


def test_an_unreadable_reply_keeps_the_old_prompt_and_pays_the_penalty(make_gates: MakeGates) -> None:
    env = make_gates()
    before = played(env)
    reward = MetaReward(env, RewardConfig(format_penalty=0.25))
    cut_off = Completion(text=reply(right_prompt()), finish_reason="length")
    results = reward.rewarded(before, ["no marker", cut_off])
    assert before.reward is not None
    assert [item.reward for item in results] == [before.reward - 0.25] * 2
    assert [item.prompt for item in results] == [before.prompt] * 2
    assert "holds no line" in results[0].problem
    assert "cut off" in results[1].problem


def test_the_length_penalty_is_per_thousand_characters(make_gates: MakeGates) -> None:
    env = make_gates()
    prompt = right_prompt()
    (value,) = MetaReward(env, RewardConfig(length_penalty=0.5))(played(env), [reply(prompt)])
    assert value == pytest.approx(1.0 - 0.5 * len(prompt) / 1_000)


def test_relative_subtracts_the_old_prompts_score(make_gates: MakeGates) -> None:
    env = make_gates()
    before = played(env)
    assert before.reward is not None
    values = MetaReward(env, RewardConfig(relative=True))(before, [reply(right_prompt()), "unreadable"])
    assert values == [1.0 - before.reward, 0.0]


def test_fresh_tasks_are_new_of_the_same_family_and_the_same_for_all(make_gates: MakeGates) -> None:
    env = make_gates()
    before, reward = played(env), MetaReward(env, RewardConfig(on="fresh"))
    first, second = (reward.rewarded(before, [reply("a"), reply("b")]) for _ in range(2))
    tasks = [[item.task for item in result.meta_step.trajectories] for result in (*first, *second)]
    assert tasks[0] == tasks[1] == tasks[2]
    assert {task.family for task in tasks[0]} == {LAW}
    assert not {task.id for task in tasks[0]} & set(TASKS)


def test_fresh_tasks_are_of_the_environments_split() -> None:
    sources = {"small": (1, 40), "big": (41, 400)}
    tasks = [
        Task(id=f"{LAW}/{number}", family=LAW, split="train" if number % 3 else "test", source=source, seed=number)
        for source, (first, last) in sources.items()
        for number in range(first, last)
    ]

    class Env(GradedGatesMetaEnv):
        def make_task_set(self) -> ListedTaskSet:
            return ListedTaskSet(tasks)

    with Env("demo", split="small") as env:
        (before,) = env.replay([env.default_prompt], [f"{LAW}/3", f"{LAW}/1"])
        (result,) = MetaReward(env, RewardConfig(on="fresh")).rewarded(before, [reply("a")])
        assert {item.task.source for item in result.meta_step.trajectories} == {"small"}


def test_a_failed_episode_gives_no_reward(make_gates: MakeGates) -> None:
    class Env(gates_of(lambda env: FailingEnv(env, lambda task_id: task_id == TASKS[1]))):  # type: ignore[misc]
        pass

    before = played(make_gates())
    assert MetaReward(make_gates(cls=Env))(before, [reply("a"), reply("b")]) == [None, None]


@pytest.mark.parametrize(
    ("config", "message"),
    [({"on": "other"}, "should be 'same' or 'fresh'.*'other'"), ({"repetitions": 0}, "greater than or equal to 1.*=0")],
)
def test_a_bad_option_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RewardConfig(**config)


def test_an_empty_batch_is_refused(make_gates: MakeGates) -> None:
    with pytest.raises(ConfigError, match="got an empty one"):
        MetaReward(make_gates())(make_meta_step(), ["x"])


def test_partial_credit_counts_each_gate_once_and_each_step(make_gates: MakeGates) -> None:
    """An invalid action shows the same text again; a policy once earned by that."""
    env = make_gates(cls=GradedGatesMetaEnv)
    first = GatesEnv().reset(options={"task_id": TASKS[0]})[0].split()[4]
    way = dict(zip(GATES, law_of(LAW).opens, strict=True))[first]
    hacked = "\n".join([f"when the gate is {first}, {way}", *(f"when the gate is {gate}, dance" for gate in GATES)])
    (meta_step,) = env.replay([hacked], [TASKS[0]])
    (trajectory,) = meta_step.trajectories
    passed = {step.observation.text.split()[4] for step in trajectory.steps if not step.is_valid}
    assert trajectory.num_invalid > 0
    assert trajectory.score is not None
    assert trajectory.score <= len(GATES) / len(trajectory.steps)
    assert passed
    assert env.replay([right_prompt()], TASKS)[0].reward == 1.0
