"""MetaVectorEnv: several prompts in one meta-step."""

from __future__ import annotations

import itertools
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import metagym
from metagym.envs.gates.meta import GatesMetaEnv
from metagym.errors import (
    BudgetExceededError,
    ConfigError,
    ContentFilterError,
    EpisodesFailedError,
    InvalidPromptError,
    ModelError,
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


def test_it_renders_what_each_meta_environment_would_render_alone() -> None:
    envs = make(render_mode="ansi")
    envs.reset(seed=5)
    envs.step(PROMPTS)
    env = gym.make("MetaGym/Gates-v0", actor="demo", render_mode="ansi")
    env.reset(seed=6)
    env.step(PROMPTS[1])
    rendered = envs.render()
    assert rendered is not None
    assert (len(rendered), rendered[1]) == (3, env.render())
    assert make().render() is None


def test_all_episodes_of_a_step_share_one_run_of_the_engine() -> None:
    envs = make(num_envs=4)
    runs = []
    run = envs.env.player.engine.run

    async def counted(episodes: Any, **options: Any) -> Any:
        runs.append(len(episodes))
        return await run(episodes, **options)

    envs.env.player.engine.run = counted  # type: ignore[method-assign]
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


def test_a_seed_is_not_taken_by_those_that_the_mask_leaves_out() -> None:
    envs, other = make(num_envs=2), make(num_envs=2)
    for each in (envs, other):
        each.reset(seed=0)
        each.step(("a", "b"))
    envs.reset(seed=0, options={"reset_mask": np.array([True, False])})
    for each in (envs, other):
        each.reset(options={"reset_mask": np.array([False, True])})
    assert envs.step(("a", "b"))[4]["task_ids"][1] == other.step(("a", "b"))[4]["task_ids"][1]


def test_equal_seeds_give_equal_steps() -> None:
    first, second = make(), make()
    first.reset(seed=[7, 8, 9])
    second.reset(seed=7)
    assert list(map(texts, first.step(PROMPTS)[0])) == list(map(texts, second.step(PROMPTS)[0]))


@pytest.mark.parametrize("same_tasks", [False, True])
@pytest.mark.parametrize("seeds", [np.int64(0), np.array([0, 1]), (0, np.int32(1))], ids=repr)
def test_whole_numbers_of_any_type_are_seeds(seeds: Any, same_tasks: bool) -> None:
    envs, plain = (make(num_envs=2, same_tasks=same_tasks) for _ in range(2))
    envs.reset(seed=seeds)
    plain.reset(seed=[0, 1])
    assert tuple(envs.step(("a", "b"))[4]["task_ids"]) == tuple(plain.step(("a", "b"))[4]["task_ids"])


@pytest.mark.parametrize("seed", [-1, 1.5, [0, -1], [0, 1.5], "ab", np.array([0.5, 1.0])], ids=repr)
def test_a_wrong_seed_is_the_error_of_one_meta_environment_and_changes_nothing(seed: Any) -> None:
    envs, other = make(num_envs=2), make(num_envs=2)
    for each in (envs, other):
        each.reset(seed=3)
    with pytest.raises(gym.error.Error, match="Seed must be"):
        envs.reset(seed=seed)
    envs.reset()
    other.reset()
    assert tuple(envs.step(("a", "b"))[4]["task_ids"]) == tuple(other.step(("a", "b"))[4]["task_ids"])


def test_the_end_of_the_budget_carries_the_meta_steps_of_all() -> None:
    envs = make(num_envs=2, actor=metagym.ChatActor(FakeChatModel("Action: knock")), budget={"calls": 20})
    envs.reset(seed=0)
    with pytest.raises(BudgetExceededError) as failure:
        envs.step(("a", "b"))
    first, second = failure.value.meta_steps
    assert (first.prompt, second.prompt) == ("a", "b")
    assert (*first.trajectories, *second.trajectories) == failure.value.trajectories


def test_a_masked_reset_returns_the_last_observation_of_the_others() -> None:
    envs = make(num_envs=2)
    envs.reset(seed=0)
    batches, *_ = envs.step(("a", "b"))
    assert envs.reset(options={"reset_mask": np.array([True, False])})[0] == ((), batches[1])


def test_a_masked_reset_that_leaves_out_one_that_never_began_is_refused() -> None:
    with pytest.raises(gym.error.ResetNeeded, match=r"Meta-episodes 1 have not begun: .* without a reset_mask"):
        make(num_envs=2).reset(options={"reset_mask": np.array([True, False])})


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


@pytest.mark.parametrize("kind", [ModelError, ContentFilterError], ids=["one episode fails", "all are refused"])
def test_same_tasks_stay_equal_after_a_failure_under_one_prompt(kind: type[ModelError]) -> None:
    def answer(messages: object, call: object) -> str:
        is_hit = str(messages[0]["content"]).startswith("b") and next(count) < most  # type: ignore[index]
        if is_hit:
            raise kind("as asked")
        return "Action: knock"

    count, most = itertools.count(), 1 if kind is ModelError else 5
    envs = make(num_envs=2, same_tasks=True, actor=metagym.ChatActor(FakeChatModel(answer)))
    envs.reset(seed=0)
    with pytest.raises(EpisodesFailedError) as failure:
        envs.step(("a", "b"))
    played = [[item.task.id for item in meta_step.trajectories] for meta_step in failure.value.meta_steps]
    again = envs.step(("a", "b"))[4]["task_ids"]
    assert [*map(list, again)] == played
    *_, infos = envs.step(("a", "b"))
    assert infos["task_ids"][0] == infos["task_ids"][1] != again[0]


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
        (lambda: make().reset(seed=[1]), "Expected 3 seeds, got 1"),
        (lambda: make().reset(options={"mask": 1}), "Unknown reset option 'mask'"),
        (lambda: make().reset(options={"reset_mask": np.array([True])}), "reset_mask must be bool of shape"),
        (
            lambda: make(same_tasks=True).reset(options={"reset_mask": np.array([True, False, False])}),
            "begin together",
        ),
        (lambda: make().reset(seed=[]), "Expected 3 seeds, got 0"),
        (lambda: make().step("abc"), "Expected 3 prompts"),
        (lambda: make().step(None), "Expected 3 prompts"),
        (lambda: make().step(3), "Expected 3 prompts"),
        (lambda: make().step({"a": 1, "b": 2, "c": 3}), "Expected 3 prompts"),
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
