"""MetaVectorEnv: several prompts in one meta-step."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

import metagym
from metagym.envs.gates.meta import GatesMetaEnv
from metagym.errors import (
    BudgetExceededError,
    ConfigError,
    EpisodesFailedError,
    InvalidPromptError,
    TasksExhaustedError,
)
from metagym.testing import FakeChatModel, ScriptedActor
from metagym.types import Trajectory
from metagym.vector import MetaVectorEnv

PROMPTS = ("Be quick.", "- when the gate is oak, push", "- when the gate is iron, sing")


def make(num_envs: int = 3, **options: object) -> MetaVectorEnv:
    envs = gym.make_vec("MetaGym/Gates-v0", num_envs=num_envs, **{"actor": "demo", **options})
    assert isinstance(envs, MetaVectorEnv)
    return envs


def texts(batch: tuple[Trajectory, ...]) -> list[str]:
    """Return what happened, without the arm's name and seed, which are its own."""
    return [
        item.model_copy(update={"episode": item.episode.model_copy(update={"arm": "", "seed": 0})}).model_dump_json()
        for item in batch
    ]


def test_a_step_returns_what_each_meta_environment_would_return_alone() -> None:
    envs = make()
    envs.reset(seed=5)
    batches, rewards, terminated, truncated, infos = envs.step(PROMPTS)
    for index, prompt in enumerate(PROMPTS):
        env = gym.make("MetaGym/Gates-v0", actor="demo")
        env.reset(seed=5 + index)
        alone, reward, *flags, info = env.step(prompt)
        assert texts(batches[index]) == texts(alone)
        assert (rewards[index], [terminated[index], truncated[index]]) == (reward, flags)
        assert infos["task_ids"][index] == info["task_ids"]
        assert np.array_equal(infos["scores"][index], info["scores"])


def test_all_episodes_of_a_step_share_one_run_of_the_engine() -> None:
    envs = make(num_envs=4)
    runs = []
    run = envs.env.player.engine.run
    envs.env.player.engine.run = lambda episodes: runs.append(len(episodes)) or run(episodes)  # type: ignore[method-assign]
    envs.reset(seed=0)
    envs.step(("a",) * 4)
    assert runs == [20]


def test_same_tasks_gives_every_prompt_the_same_batch_but_its_own_chance() -> None:
    envs = make(same_tasks=True)
    envs.reset(seed=0)
    for _ in range(3):
        batches, *_, infos = envs.step(PROMPTS)
        assert len(set(infos["task_ids"])) == 1
        assert len({batch[0].episode.seed for batch in batches}) == 3


def test_without_same_tasks_the_meta_episodes_differ() -> None:
    envs = make()
    envs.reset(seed=0)
    *_, infos = envs.step(PROMPTS)
    assert len(set(infos["task_ids"])) == 3


def test_the_registered_length_truncates_and_only_a_marked_reset_goes_on() -> None:
    envs = make(num_envs=2, max_episode_steps=2)
    envs.reset(seed=0)
    envs.step(("a", "b"))
    *_, truncated, _ = envs.step(("a", "b"))
    assert truncated.tolist() == [True, True]
    envs.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(gym.error.ResetNeeded, match="Meta-episodes 1 are over"):
        envs.step(("a", "b"))
    envs.reset(options={"reset_mask": np.array([False, True])})
    assert envs.step(("a", "b"))[3].tolist() == [False, False]


def test_a_masked_reset_leaves_the_others_where_they_are() -> None:
    envs, other = make(num_envs=2), make(num_envs=2)
    for each in (envs, other):
        each.reset(seed=0)
        each.step(("a", "b"))
    envs.reset(options={"reset_mask": np.array([True, False])})
    assert envs.step(("a", "b"))[4]["task_ids"][1] == other.step(("a", "b"))[4]["task_ids"][1]


def test_equal_seeds_give_equal_steps() -> None:
    first, second = make(), make()
    first.reset(seed=[7, 8, 9])
    second.reset(seed=7)
    assert list(map(texts, first.step(PROMPTS)[0])) == list(map(texts, second.step(PROMPTS)[0]))


def test_a_prompt_that_is_none_stops_the_step_before_anything_is_played() -> None:
    envs = make(num_envs=2)
    envs.reset(seed=0)
    with pytest.raises(InvalidPromptError, match="expected a str, got int"):
        envs.step(("a", 3))  # type: ignore[arg-type]
    assert envs.env.ledger.num_episodes == 0


def test_a_failure_under_one_prompt_carries_the_meta_steps_of_all() -> None:
    envs = make(num_envs=2, actor=metagym.ChatActor(FakeChatModel(lambda messages, call: _fail_for("b", messages))))
    envs.reset(seed=0)
    with pytest.raises(EpisodesFailedError, match="5 of 5 episodes failed") as failure:
        envs.step(("a", "b"))
    assert [meta_step.num_failed for meta_step in failure.value.meta_steps] == [0, 5]


def test_with_same_tasks_a_failure_under_one_prompt_leaves_all_batches_equal() -> None:
    failing = {"b"}
    answer = lambda messages, call: _fail_for("".join(failing), messages) if failing else "Action: knock"  # noqa: E731
    envs = make(num_envs=2, actor=metagym.ChatActor(FakeChatModel(answer)), same_tasks=True)
    envs.reset(seed=0)
    with pytest.raises(EpisodesFailedError) as failure:
        envs.step(("a", "b"))
    failed = [item.task.id for item in failure.value.meta_steps[1].trajectories]
    failing.clear()
    for index in range(2):
        *_, infos = envs.step(("a", "b"))
        assert infos["task_ids"][0] == infos["task_ids"][1]
        assert (list(infos["task_ids"][0]) == failed) == (index == 0)


def test_a_budget_that_ends_carries_the_meta_steps_of_all() -> None:
    model = FakeChatModel(["Thought: x\nAction: knock"])
    envs = make(num_envs=2, actor=metagym.ChatActor(model), budget={"calls": 7})
    envs.reset(seed=0)
    with pytest.raises(BudgetExceededError) as stopped:
        envs.step(("a", "b"))
    assert [(step.prompt, len(step.trajectories)) for step in stopped.value.meta_steps] == [("a", 5), ("b", 5)]


@pytest.mark.parametrize("seed", [np.int64(4), np.array([4, 5, 6]), [np.int64(4), 5, 6]])
def test_seeds_may_be_numbers_of_numpy(seed: object) -> None:
    tasks = []
    for given in (4, seed):
        envs = make()
        envs.reset(seed=given)  # type: ignore[arg-type]
        tasks.append(envs.step(PROMPTS)[4]["task_ids"].tolist())
    assert tasks[0] == tasks[1]


def test_a_negative_seed_is_refused_as_gymnasium_does() -> None:
    with pytest.raises(gym.error.Error, match="greater or equal to zero"):
        make().reset(seed=-1)


def _fail_for(prompt: str, messages: object) -> str:
    if str(messages[0]["content"]).startswith(prompt):  # type: ignore[index]
        raise metagym.errors.ModelError("The server is down.")
    return "Action: knock"


def test_too_few_tasks_truncate_and_then_raise() -> None:
    tasks = GatesMetaEnv(actor="demo").task_set.draw(
        3, rng=np.random.default_rng(0), families=["law-0001"], split="train"
    )

    class Few(GatesMetaEnv):
        def make_task_set(self) -> metagym.TaskSet:
            from metagym.tasks import ListedTaskSet

            return ListedTaskSet(tasks)

    envs = MetaVectorEnv(Few, 1, actor=ScriptedActor(["knock"]), episodes_per_step=2)
    envs.reset(seed=0)
    assert envs.step(("a",))[3].tolist() == [True]
    with pytest.raises(gym.error.ResetNeeded):
        envs.step(("a",))
    few = MetaVectorEnv(Few, 1, actor="demo", episodes_per_step=4)
    with pytest.raises(TasksExhaustedError, match="Expected 4 new tasks"):
        few.reset(seed=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make(num_envs=0), "num_envs must be at least 1"),
        (lambda: make().reset(seed=[1]), r"Expected a whole number as seed, or 3 of them, got \[1\]"),
        (lambda: make().reset(seed=[]), "Expected a whole number as seed, or 3 of them"),
        (lambda: make().reset(seed=1.5), "Expected a whole number as seed, or 3 of them, got 1.5"),
        (lambda: make().step(None), "Expected 3 prompts"),
        (lambda: make().reset(options={"mask": 1}), "Unknown reset option 'mask'"),
        (lambda: make().reset(options={"reset_mask": np.array([True])}), "reset_mask must be bool of shape"),
        (
            lambda: make(same_tasks=True).reset(options={"reset_mask": np.array([True, False, False])}),
            "begin together",
        ),
        (lambda: make().step("abc"), "Expected 3 prompts"),
    ],
)
def test_bad_input_says_what_was_expected(call: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call()  # type: ignore[operator]


def test_the_modes_of_gymnasium_work_too() -> None:
    envs = gym.make_vec("MetaGym/Gates-v0", num_envs=2, actor="demo", vectorization_mode="sync")
    envs.reset(seed=0)
    assert envs.step(("a", "b"))[1].shape == (2,)
    envs.close()


def test_the_async_mode_works_without_shared_memory() -> None:
    envs = gym.make_vec(
        "MetaGym/Gates-v0",
        num_envs=2,
        actor="demo",
        vectorization_mode="async",
        vector_kwargs={"shared_memory": False, "context": "spawn"},
    )
    envs.reset(seed=0)
    assert envs.step(("a", "b"))[1].shape == (2,)
    envs.close()
