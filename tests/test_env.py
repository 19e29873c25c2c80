"""MetaEnv: the contract of docs/contract.md, one law a test."""

from __future__ import annotations

import asyncio
import json
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env

import metagym
from metagym import ChatActor, MetaEnv, TaskSet, TextAdapter, background
from metagym.actors import FunctionActor, ScriptedActorWarning
from metagym.envs.gates.demo import GatesDemoActor
from metagym.envs.gates.env import GatesEnv
from metagym.errors import (
    ConfigError,
    EpisodesFailedError,
    InvalidPromptError,
    TasksExhaustedError,
    UnknownNameError,
)
from metagym.meta_episode import TaskQueue
from metagym.spaces import PromptSpace, TrajectorySpace
from metagym.testing import FakeChatModel, FakeOpenAIServer, ScriptedActor, check_text_env
from metagym.types import Episode, MetaStep, Observation, Step, StopReason, Task, Trajectory, Usage
from tests.conftest import CorridorEnv, FailingEnv, MakeGates, Serve, gates_of, run_python

pytestmark = pytest.mark.timeout(60)

EAST = ScriptedActor(["east"])


def seed_of(env: gymnasium.Env[str, str], task: Task) -> str:
    return str(task.seed)


class CorridorMetaEnv(MetaEnv):
    """A meta-environment of one's own, over seven corridors; it touches no private name."""

    default_prompt = "Walk."
    num_seeds = 7

    def make_inner_env(self) -> CorridorEnv:
        return CorridorEnv()

    def make_task_set(self) -> TaskSet:
        return TaskSet.from_seeds(
            CorridorEnv, self.num_seeds, digest=lambda env, task: str(task.seed), families=["corridor"]
        )


def num_train() -> int:
    tasks = CorridorMetaEnv("random").task_set
    return sum(tasks.find(f"corridor/{seed}").split == "train" for seed in range(7))


@pytest.fixture
def corridors() -> Iterator[Callable[..., CorridorMetaEnv]]:
    made: list[CorridorMetaEnv] = []

    def make(actor: Any = EAST, **options: Any) -> CorridorMetaEnv:
        made.append(CorridorMetaEnv(actor, **options))
        return made[-1]

    yield make
    for env in made:
        env.close()


def played(env: MetaEnv, num_steps: int, *, seed: int = 0, prompt: str = "p") -> list[tuple[Any, ...]]:
    env.reset(seed=seed)
    return [env.step(prompt) for _ in range(num_steps)]


def ids_of(steps: Sequence[tuple[Any, ...]]) -> list[str]:
    return [task_id for step in steps for task_id in step[4]["task_ids"]]


# Spaces, reset, step ----------------------------------------------------------------------------------


def test_the_spaces_are_prompts_and_batches_of_trajectories(make_gates: MakeGates) -> None:
    env = make_gates()
    assert env.action_space == PromptSpace()
    assert env.observation_space == TrajectorySpace()


def test_fault_9_reset_plays_nothing_and_calls_no_model(make_gates: MakeGates) -> None:
    model = FakeChatModel(["Action: knock"])
    env = make_gates(ChatActor(model))
    observation, info = env.reset(seed=0)
    assert observation == ()
    assert info["default_prompt"] == env.default_prompt
    assert (model.calls, env.ledger.num_episodes) == ([], 0)


def test_fault_9_step_returns_gymnasiums_five_values(make_gates: MakeGates) -> None:
    env = make_gates()
    env.reset(seed=0)
    trajectories, reward, terminated, truncated, info = env.step("Be brave.")
    assert trajectories in env.observation_space
    assert [type(item) for item in trajectories] == [Trajectory] * 5
    assert (type(reward), type(terminated), type(truncated), type(info)) == (float, bool, bool, dict)
    assert {item.episode.prompt for item in trajectories} == {"Be brave."}


def test_the_reward_is_the_mean_score(make_gates: MakeGates) -> None:
    for trajectories, reward, *_ in played(make_gates("random", max_steps=40, invalid="execute"), 4):
        assert reward == np.mean([item.score for item in trajectories])


def test_step_before_reset_is_refused(make_gates: MakeGates) -> None:
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"Call env.reset\(\) before"):
        make_gates().step("p")


@pytest.mark.parametrize("prompt", [None, 3, b"go", "a\ud800", "x" * 100_001, ["p"]])
def test_what_is_no_prompt_is_refused_and_nothing_is_played(make_gates: MakeGates, prompt: Any) -> None:
    env = make_gates()
    env.reset(seed=0)
    with pytest.raises(InvalidPromptError, match=r"is a system prompt: expected .* Pass a str of at most 100,000"):
        env.step(prompt)
    assert env.ledger.num_episodes == 0
    _, _, _, _, info = env.step("p")
    assert info["task_ids"] == tuple(ids_of(played(make_gates(), 1)))


def test_task_ids_give_the_meta_episodes_tasks_in_order(make_gates: MakeGates) -> None:
    ids = [f"law-00{n:02d}/{n}" for n in range(6)]
    env = make_gates(episodes_per_step=2)
    env.reset(seed=0, options={"task_ids": ids})
    steps = [env.step("p") for _ in range(3)]
    assert [step[4]["task_ids"] for step in steps] == [tuple(ids[0:2]), tuple(ids[2:4]), tuple(ids[4:6])]
    assert [step[3] for step in steps] == [False, False, True]
    with pytest.raises(TasksExhaustedError, match=r"Expected 2 more of the given task_ids, 0 are left"):
        env.step("p")


def test_task_ids_may_be_of_any_split(make_gates: MakeGates) -> None:
    env = make_gates(episodes_per_step=1)
    for split in ("validation", "test"):
        task = env.task_set.draw(1, rng=np.random.default_rng(0), split=split)[0]
        env.reset(options={"task_ids": [task.id]})
        assert env.step("p")[0][0].task == task


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"task_ids": ["law-9999/0"]}, UnknownNameError, r"Unknown task id 'law-9999/0'"),
        ({"task_ids": "law-0001/0"}, ConfigError, r"must be a list of task ids, got 'law-0001/0'"),
        ({"task_ids": [3]}, ConfigError, r"must be a list of task ids, got \[3\]"),
        ({"task_ids": ["law-0001/0"] * 2}, ConfigError, r"must not repeat within a meta-episode"),
        ({"task_ids": []}, TasksExhaustedError, r"0 are left"),
        ({"tasks": []}, ConfigError, r"Unknown reset option 'tasks': expected 'task_ids'"),
    ],
)
def test_wrong_reset_options_are_typed_errors(
    make_gates: MakeGates, options: Any, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        make_gates().reset(options=options)


def test_fault_1_no_task_comes_twice_in_a_meta_episode(make_gates: MakeGates) -> None:
    env = make_gates(families=["law-0001", "law-0002"], schedule="fresh", episodes_per_step=3)
    steps = played(env, 30)
    digests = [item.task.digest for step in steps for item in step[0]]
    assert len(set(digests)) == len(digests) == 90


def test_a_step_that_leaves_too_few_tasks_truncates_and_the_next_raises(corridors: Any) -> None:
    env = corridors(episodes_per_step=1)
    steps = played(env, num_train())
    assert [step[3] for step in steps] == [False] * (num_train() - 1) + [True]
    with pytest.raises(TasksExhaustedError, match=r"Expected 1 new tasks with split 'train' from corridor"):
        env.step("p")
    assert env.ledger.num_episodes == num_train()


def test_too_few_tasks_for_one_step_are_told_at_reset(corridors: Any) -> None:
    with pytest.raises(TasksExhaustedError, match=r"Expected 8 new tasks"):
        corridors(episodes_per_step=8).reset(seed=0)


def test_after_a_reset_the_tasks_may_come_again(corridors: Any) -> None:
    env = corridors(episodes_per_step=num_train())
    assert sorted(ids_of(played(env, 1, seed=0))) == sorted(ids_of(played(env, 1, seed=1)))


def test_terminated_only_where_a_success_threshold_is_given_and_reached(make_gates: MakeGates) -> None:
    perfect = ScriptedActor(["knock"])
    options: dict[str, Any] = {"families": ["law-0000"], "episodes_per_step": 2}
    assert [step[2] for step in played(make_gates(perfect, **options), 3)] == [False] * 3
    assert [step[2] for step in played(make_gates(perfect, success_threshold=1.0, **options), 1)] == [True]
    wrong = ScriptedActor(["push"])
    assert [step[2] for step in played(make_gates(wrong, success_threshold=0.5, **options), 2)] == [False] * 2


def test_a_last_meta_step_that_reaches_the_threshold_is_terminated_and_truncated(make_gates: MakeGates) -> None:
    env = make_gates(ScriptedActor(["knock"]), families=["law-0000"], episodes_per_step=2, success_threshold=1.0)
    task_ids = [task.id for task in env.task_set.draw(2, rng=env.np_random, families=["law-0000"])]
    env.reset(seed=0, options={"task_ids": task_ids})
    assert env.step("p")[2:4] == (True, True)


def test_an_episode_says_which_meta_step_it_belongs_to(make_gates: MakeGates) -> None:
    env = make_gates()
    for _ in range(2):
        assert [{item.episode.meta_step for item in step[0]} for step in played(env, 3)] == [{0}, {1}, {2}]
    assert [item.index for item in env.replay(["p", "q"], ["law-0001/1"])] == [3, 3]


def test_the_length_of_the_meta_episode_is_the_registered_one() -> None:
    env = gymnasium.make("MetaGym/Gates-v0", actor="random", episodes_per_step=1)
    assert [step[3] for step in played(env, 10)] == [False] * 9 + [True]  # type: ignore[arg-type]
    env = gymnasium.make("MetaGym/Gates-v0", actor="random", episodes_per_step=1, max_episode_steps=3)
    assert [step[3] for step in played(env, 3)] == [False, False, True]  # type: ignore[arg-type]


# info -------------------------------------------------------------------------------------------------


def test_info_holds_the_agreed_fields(make_gates: MakeGates) -> None:
    env = make_gates(ChatActor(FakeChatModel(["Action: fly", "Action: knock"])), max_steps=4)
    env.reset(seed=0)
    trajectories, _, _, _, info = env.step("p")
    assert set(info) == {
        "task_ids",
        "scores",
        "successes",
        "num_failed",
        "invalid_action_rate",
        "usage",
        "fingerprint",
    }
    assert info["task_ids"] == tuple(item.task.id for item in trajectories)
    assert (info["scores"].dtype, info["scores"].shape) == (np.dtype(np.float64), (5,))
    assert info["scores"].tolist() == [item.score for item in trajectories]
    assert info["successes"] == tuple(item.success for item in trajectories)
    assert info["num_failed"] == 0
    assert info["invalid_action_rate"] == 5 / sum(len(item.steps) for item in trajectories)
    assert info["usage"] == sum((item.usage for item in trajectories), Usage()).model_dump()
    assert info["usage"]["num_calls"] == sum(len(item.steps) for item in trajectories)


def test_successes_are_none_where_the_environment_reports_none(make_gates: MakeGates) -> None:
    class Silent(gymnasium.Wrapper[str, str, str, str]):
        def reset(self, **kwargs: Any) -> Any:
            text, info = self.env.reset(**kwargs)
            return text, {"available_actions": info["available_actions"]}

        def step(self, action: str) -> Any:
            *rest, info = self.env.step(action)
            return *rest, {"available_actions": info["available_actions"]}

    env = make_gates("random", cls=gates_of(Silent))
    assert played(env, 1)[0][4]["successes"] == (None,) * 5


def test_nothing_measured_by_a_clock_is_in_info_trajectories_or_meta_steps(make_gates: MakeGates) -> None:
    """Equal play gives equal values: there is no room for a time in them."""

    def dump() -> list[Any]:
        env = make_gates(families=["law-0001"])
        steps = played(env, 2)
        group = env.replay(["p"], ["law-0001/3"])
        return [[s[4] | {"scores": s[4]["scores"].tolist()}, [t.model_dump() for t in s[0]]] for s in steps] + [
            item.model_dump() for item in group
        ]

    first = dump()
    assert dump() == first
    names = set(_names(first))
    assert not {name for name in names if name.endswith("_s") or "time" in name or "date" in name}


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from _names(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _names(inner)


def test_times_and_totals_are_in_the_ledger(make_gates: MakeGates) -> None:
    env = make_gates(ChatActor(FakeChatModel(["Action: knock"])))
    steps = played(env, 2)
    env.replay(["p"], ["law-0001/3"])
    assert env.ledger.num_episodes == 11
    assert env.ledger.wall_time_s > 0
    assert env.ledger.usage.num_calls >= sum(step[4]["usage"]["num_calls"] for step in steps)
    assert "num_episodes=11" in repr(env.ledger)


# Rendering and closing --------------------------------------------------------------------------------


def test_render_ansi_gives_the_last_batch_as_text(make_gates: MakeGates) -> None:
    env = make_gates(render_mode="ansi")
    env.reset(seed=0)
    assert env.render() == ""
    env.step("p")
    assert "=== Episode 5 of 5 ===" in str(env.render())
    env.reset(seed=0)
    assert env.render() == ""


def test_without_a_render_mode_nothing_is_rendered(make_gates: MakeGates) -> None:
    env = make_gates()
    env.reset(seed=0)
    assert env.render() is None


def test_another_render_mode_is_refused(make_gates: MakeGates) -> None:
    with pytest.raises(ConfigError, match=r"render_mode must be 'ansi' or None, got 'human'"):
        make_gates(render_mode="human")


def test_close_twice_is_fine_and_closes_the_inner_environments(make_gates: MakeGates) -> None:
    made: list[int] = []
    closed: list[int] = []

    class Closing(gymnasium.Wrapper[str, str, str, str]):
        def __init__(self, env: Any) -> None:
            super().__init__(env)
            made.append(1)

        def close(self) -> None:
            closed.append(1)

    env = make_gates(cls=gates_of(Closing))
    played(env, 1)
    env.close()
    env.close()
    assert len(closed) == len(made) > 0


CLOSED: list[int] = []


class ClosingActor(ScriptedActor):
    def __init__(self) -> None:
        super().__init__(["knock"])

    async def aclose(self) -> None:
        CLOSED.append(1)


def test_close_closes_only_an_actor_that_was_made_here(make_gates: MakeGates) -> None:
    CLOSED.clear()
    make_gates(ClosingActor()).close()
    assert CLOSED == []
    env = make_gates("tests.test_env:ClosingActor")
    env.close()
    env.close()
    assert len(CLOSED) == 1


def test_it_is_a_context_manager() -> None:
    with gymnasium.make("MetaGym/Gates-v0", actor="demo") as env:
        env.reset(seed=0)
        assert env.step("p")[1] >= 0.0


FORGETFUL = """if True:
    import sys
    import gymnasium, metagym
    actor = "demo" if len(sys.argv) == 1 else {"model": "m", "base_url": sys.argv[1]}
    env = gymnasium.make("MetaGym/Gates-v0", actor=actor, families=["law-0000"])
    _, info = env.reset(seed=0)
    print(env.step(info["default_prompt"])[1])
    """


def test_a_script_that_forgets_close_ends_with_0_and_nothing_on_stderr() -> None:
    done = run_python(FORGETFUL)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_script_that_forgets_close_with_a_model_ends_with_0_and_nothing_on_stderr(serve: Serve) -> None:
    done = run_python(FORGETFUL, serve("Action: knock").base_url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1.0\n", "")


def test_a_script_that_ends_in_an_error_ends_with_that_error_only(serve: Serve) -> None:
    done = run_python(FORGETFUL + "raise SystemExit(7)", serve("Action: knock").base_url)
    assert (done.returncode, done.stderr) == (7, "")


def test_step_works_inside_a_running_event_loop(make_gates: MakeGates, serve: Serve) -> None:
    env = make_gates({"model": "m", "base_url": serve("Action: knock").base_url}, families=["law-0000"])

    async def main() -> float:
        env.reset(seed=0)
        return env.step("p")[1]

    assert asyncio.run(main()) == 1.0


def test_a_meta_environment_inside_an_async_actor_is_told_what_to_do(make_gates: MakeGates) -> None:
    env = make_gates()
    env.reset(seed=0)

    async def act(episode: Episode, steps: Sequence[Step], observation: Observation) -> str:
        env.step("p")
        return "knock"

    outer = make_gates(act, episodes_per_step=1)
    outer.reset(seed=0)
    with pytest.raises(EpisodesFailedError, match=r"Await the asynchronous counterpart"):
        outer.step("p")


# replay -----------------------------------------------------------------------------------------------


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


def test_fault_2_one_task_played_and_won_three_times_scores_one(make_gates: MakeGates) -> None:
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
        ((["p"], ["law-9999/1"]), UnknownNameError, "Unknown task id"),
    ],
)
def test_wrong_replays_are_typed_errors_and_play_nothing(
    make_gates: MakeGates, arguments: Any, error: type[Exception], told: str
) -> None:
    env = make_gates()
    with pytest.raises(error, match=told):
        env.replay(*arguments)
    with pytest.raises(ConfigError, match=r"repetitions must be at least 1, got 0"):
        env.replay(["p"], ["law-0000/1"], repetitions=0)
    with pytest.raises(error, match=told):
        background.run(env.replay_async(*arguments))
    assert env.ledger.num_episodes == 0


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


# gym.make ---------------------------------------------------------------------------------------------


def test_the_spec_survives_json_and_makes_an_equal_environment() -> None:
    options: dict[str, Any] = {
        "actor": {"model": "m", "base_url": "http://localhost:1/v1", "sampling": {"temperature": 0.5}},
        "families": ["law-0003", "law-0001"],
        "split": "validation",
        "episodes_per_step": 2,
        "schedule": "fresh",
        "max_steps": 7,
        "success_threshold": 0.9,
    }
    env: Any = gymnasium.make("MetaGym/Gates-v0", **options)
    again: Any = gymnasium.make(EnvSpec.from_json(env.spec.to_json()))
    assert again.unwrapped.config == env.unwrapped.config
    assert again.unwrapped.fingerprint == env.unwrapped.fingerprint
    assert json.loads(json.dumps(env.unwrapped.fingerprint)) == env.unwrapped.fingerprint


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"episodes_per_step": 0}, r"Option 'episodes_per_step' got 0: .*greater than or equal to 1"),
        ({"episodes_per_step": "many"}, r"Option 'episodes_per_step' got 'many': .*integer"),
        ({"max_steps": 0}, r"Option 'max_steps' got 0"),
        ({"max_concurrency": 0}, r"Option 'max_concurrency' got 0"),
        ({"max_failure_rate": 1.0}, r"Option 'max_failure_rate' got 1.0: .*less than 1"),
        ({"invalid": "ignore"}, r"Option 'invalid' got 'ignore': .*'reject' or 'execute'"),
        ({"episodes_per_stp": 3}, r"Unknown option 'episodes_per_stp': expected one of .*episodes_per_step"),
        ({"families": ["law-9999"]}, r"Unknown family 'law-9999': expected one of"),
        ({"families": "law-0001"}, r"families must be a list of names, got the text 'law-0001'. Write \['law-0001'\]"),
        ({"families": []}, r"families must be a non-empty list of names"),
        ({"split": "trian"}, r"Unknown split 'trian': .*Did you mean 'train'\?"),
        ({"schedule": "frseh"}, r"Unknown schedule 'frseh': .*Did you mean 'fresh'\?"),
    ],
)
def test_a_wrong_option_is_a_typed_error_with_expected_got_and_remedy(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        gymnasium.make("MetaGym/Gates-v0", actor="demo", **options)


def test_an_api_key_in_the_mapping_is_refused_by_gym_make() -> None:
    with pytest.raises(ConfigError, match=r"would be written into env.spec"):
        gymnasium.make("MetaGym/Gates-v0", actor={"model": "m", "api_key": "sk-secret"})


def test_an_unknown_id_is_gymnasiums_own_error() -> None:
    with pytest.raises(gymnasium.error.UnregisteredEnv, match=r"Did you mean"):
        gymnasium.make("MetaGym/Gatse-v0")


def test_without_an_actor_the_demo_plays_with_a_warning_and_demo_is_silent() -> None:
    with pytest.warns(ScriptedActorWarning, match=r"it is no language model"):
        gymnasium.make("MetaGym/Gates-v0").close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gymnasium.make("MetaGym/Gates-v0", actor="demo").close()


def test_without_an_actor_the_environment_variables_name_the_model(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve("Action: knock")
    monkeypatch.setenv("METAGYM_MODEL", "from-the-environment")
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    with gymnasium.make("MetaGym/Gates-v0", families=["law-0000"], episodes_per_step=1) as env:
        env.reset(seed=0)
        trajectories, reward, *_ = env.step("p")
    assert reward == 1.0
    assert not trajectories[0].scripted
    assert server.requests[0].body["model"] == "from-the-environment"


def test_an_import_path_names_an_actor() -> None:
    with gymnasium.make("MetaGym/Gates-v0", actor="tests.test_env:knock", families=["law-0000"]) as env:
        env.reset(seed=0)
        assert env.step("p")[1] == 1.0


def knock(episode: Episode, steps: Sequence[Step], observation: Observation) -> str:
    return "knock"


@pytest.mark.usefixtures("quick_retries")
def test_a_base_url_where_nothing_listens_is_a_typed_error(make_gates: MakeGates) -> None:
    with FakeOpenAIServer(lambda request: "") as gone:
        url = gone.base_url
    env = make_gates({"model": "m", "base_url": url, "timeout_s": 5}, episodes_per_step=1)
    env.reset(seed=0)
    with pytest.raises(EpisodesFailedError, match=r"Nothing answers there: start the server, or correct base_url"):
        env.step("p")


def test_an_empty_reply_is_recorded_data(make_gates: MakeGates, serve: Serve) -> None:
    env = make_gates({"model": "m", "base_url": serve("").base_url}, episodes_per_step=1, max_steps=3)
    trajectories, reward, *_ = played(env, 1)[0]
    assert (reward, trajectories[0].stop_reason, trajectories[0].num_invalid) == (0.0, StopReason.STEP_LIMIT, 3)


# Families, splits, schedules --------------------------------------------------------------------------


def test_tasks_are_of_the_asked_families_and_the_asked_split(make_gates: MakeGates) -> None:
    for split in ("train", "validation", "test"):
        env = make_gates(families=["law-0001", "law-0002"], split=split, schedule="fresh", episodes_per_step=6)
        tasks = [item.task for step in played(env, 2) for item in step[0]]
        assert {task.split for task in tasks} == {split}
        assert {task.family for task in tasks} == {"law-0001", "law-0002"}


def test_the_schedule_same_plays_the_first_batch_again(make_gates: MakeGates) -> None:
    steps = played(make_gates(schedule="same", families=["law-0001"]), 3)
    assert steps[0][4]["task_ids"] == steps[1][4]["task_ids"] == steps[2][4]["task_ids"]
    assert [{item.episode.repetition for item in step[0]} for step in steps] == [{0}, {1}, {2}]
    assert not any(step[3] for step in steps)


def test_the_schedule_blocked_keeps_to_one_family(make_gates: MakeGates) -> None:
    steps = played(make_gates(schedule="blocked", episodes_per_step=1), 12)
    families = [step[0][0].task.family for step in steps]
    assert len(set(families[:10])) == 1
    assert len(set(families[10:])) == 1
    assert families[9] != families[10]


def test_a_callable_schedule_says_what_comes_next(make_gates: MakeGates) -> None:
    def first_then_both(queue: TaskQueue) -> Sequence[Task]:
        return (*(queue.batches[0] if queue.batches else ()), *queue.draw(1))

    steps = played(make_gates(schedule=first_then_both, families=["law-0001"]), 3)
    ids = [step[4]["task_ids"] for step in steps]
    assert [len(batch) for batch in ids] == [1, 2, 2]
    assert ids[1][0] == ids[2][0] == ids[0][0]
    assert len({*ids[0], *ids[1], *ids[2]}) == 3


def test_a_task_that_comes_twice_in_a_batch_is_played_as_two_repetitions(make_gates: MakeGates) -> None:
    env = make_gates(schedule=lambda queue: [queue.batches[0][0] if queue.batches else queue.draw(1)[0]] * 3)
    steps = played(env, 2)
    assert [item.episode.repetition for step in steps for item in step[0]] == [0, 1, 2, 3, 4, 5]
    assert len({item.episode.seed for step in steps for item in step[0]}) == 6


@pytest.mark.parametrize("batch", [[], None, ["law-0001/1"]])
def test_a_schedule_that_returns_no_batch_is_told_so(make_gates: MakeGates, batch: Any) -> None:
    with pytest.raises(ConfigError, match=r"A schedule must return a non-empty sequence of tasks"):
        make_gates(schedule=lambda queue: batch).reset(seed=0)


# Subclassing ------------------------------------------------------------------------------------------


def test_a_subclass_scores_and_prompts_as_it_likes(corridors: Any) -> None:
    class Short(CorridorMetaEnv):
        default_prompt = "Be quick."

        def score(self, trajectory: Trajectory) -> float:
            return 1 / len(trajectory.steps)

    env = Short(EAST, episodes_per_step=2)
    _, info = env.reset(seed=0)
    assert info["default_prompt"] == "Be quick."
    trajectories, reward, *_ = env.step(info["default_prompt"])
    assert reward == np.mean([1 / len(item.steps) for item in trajectories])
    env.close()


def test_a_meta_environment_over_a_gymnasium_environment_is_twenty_lines() -> None:
    class LakeMetaEnv(MetaEnv):
        default_prompt = "Cross the lake."

        def make_inner_env(self) -> TextAdapter:
            lake = gymnasium.make("FrozenLake-v1", is_slippery=True)
            return TextAdapter(lake, actions=["left", "down", "right", "up"], render=lambda o, info: f"Field {o}.")

        def make_task_set(self) -> TaskSet:
            return TaskSet.from_seeds(
                self.make_inner_env, 100, digest=lambda env, task: str(task.seed), families=["lake"]
            )

    with LakeMetaEnv("random", episodes_per_step=3) as env:
        check_env(env, skip_render_check=True)
        assert [len(step[0]) for step in played(env, 2)] == [3, 3]


def test_a_subclass_is_told_what_it_has_to_write() -> None:
    class Empty(MetaEnv):
        pass

    class NoGame(Empty):
        def make_task_set(self) -> TaskSet:
            return TaskSet.from_seeds(self.make_inner_env, 10)

    with pytest.raises(NotImplementedError, match=r"Expected Empty to override make_task_set\(\), got none: return"):
        Empty("random")
    with NoGame("random") as env, pytest.raises(NotImplementedError, match=r"NoGame to override make_inner_env"):
        env.reset(seed=0)


def test_a_subclass_without_a_demo_actor_asks_for_one() -> None:
    with pytest.raises(ConfigError, match=r"CorridorMetaEnv has no demo actor. Pass actor="):
        CorridorMetaEnv("demo")


def test_a_subclass_may_have_defaults_of_its_own(corridors: Any) -> None:
    class Three(CorridorMetaEnv):
        default_options = {"episodes_per_step": 3}

    env = Three(EAST)
    assert env.config.episodes_per_step == 3
    assert Three(EAST, episodes_per_step=1).config.episodes_per_step == 1


# Failures of the apparatus ----------------------------------------------------------------------------


class Fault:
    """Fails the tasks that it is told to, while it is told to."""

    def __init__(self) -> None:
        self.ids: set[str] = set()

    def __call__(self, task_id: str) -> bool:
        return task_id in self.ids


@pytest.fixture
def fault() -> Fault:
    return Fault()


@pytest.fixture
def failing_gates(make_gates: MakeGates, fault: Fault) -> Callable[..., Any]:
    cls = gates_of(lambda env: FailingEnv(env, fault))
    return lambda actor="demo", **options: make_gates(actor, cls=cls, **options)


IDS = [f"law-0000/{n}" for n in range(12)]


def start(env: MetaEnv) -> MetaEnv:
    env.reset(seed=0, options={"task_ids": IDS})
    return env


def test_a_failed_episode_is_nan_in_scores_none_in_the_record_and_not_in_the_mean(
    failing_gates: Any, fault: Fault
) -> None:
    env = start(failing_gates(ScriptedActor(["knock"]), episodes_per_step=4, max_failure_rate=0.5))
    fault.ids = {IDS[1]}
    trajectories, reward, _, _, info = env.step("p")
    assert reward == 1.0
    assert info["num_failed"] == 1
    assert [math.isnan(score) for score in info["scores"]] == [False, True, False, False]
    assert [item.score for item in trajectories] == [1.0, None, 1.0, 1.0]
    assert "OSError: the road is closed" in trajectories[1].error
    assert info["successes"] == (True, None, True, True)


def test_more_failures_than_allowed_raise_with_the_partial_meta_step(failing_gates: Any, fault: Fault) -> None:
    env = start(failing_gates(ScriptedActor(["knock"]), episodes_per_step=4))
    fault.ids = {IDS[1]}
    with pytest.raises(
        EpisodesFailedError, match=r"1 of 4 episodes failed, more than max_failure_rate=0 allows.*the road is closed"
    ) as raised:
        env.step("my prompt")
    meta_step = raised.value.meta_step
    assert meta_step is not None
    assert (meta_step.prompt, meta_step.reward, meta_step.num_failed) == ("my prompt", 1.0, 1)
    assert meta_step.scores == (1.0, None, 1.0, 1.0)


@pytest.mark.parametrize(("num_failed", "raises"), [(1, False), (2, False), (3, True), (4, True)])
def test_the_failure_rate_is_the_share_of_the_batch(
    failing_gates: Any, fault: Fault, num_failed: int, raises: bool
) -> None:
    env = start(failing_gates(episodes_per_step=4, max_failure_rate=0.5))
    fault.ids = set(IDS[:num_failed])
    if raises:
        with pytest.raises(EpisodesFailedError, match=f"{num_failed} of 4"):
            env.step("p")
    else:
        assert env.step("p")[4]["num_failed"] == num_failed


def test_where_nothing_finished_the_step_raises_whatever_the_rate(failing_gates: Any, fault: Fault) -> None:
    env = start(failing_gates(episodes_per_step=1, max_failure_rate=0.99))
    fault.ids = {IDS[0]}
    with pytest.raises(EpisodesFailedError) as raised:
        env.step("p")
    assert raised.value.meta_step is not None
    assert raised.value.meta_step.reward is None


def test_after_a_failure_the_environment_is_usable_and_the_failed_tasks_come_first(
    failing_gates: Any, fault: Fault
) -> None:
    env = start(failing_gates(episodes_per_step=4))
    fault.ids = {IDS[1], IDS[3]}
    with pytest.raises(EpisodesFailedError):
        env.step("p")
    fault.ids = set()
    trajectories, _, _, _, info = env.step("p")
    assert info["task_ids"] == (IDS[1], IDS[3], IDS[4], IDS[5])
    assert {item.episode.meta_step for item in trajectories} == {0}


def test_after_a_failure_drawn_tasks_come_first_too_and_none_twice(failing_gates: Any, fault: Fault) -> None:
    env = failing_gates(episodes_per_step=4, families=["law-0000"])
    env.reset(seed=0)
    twin = failing_gates(episodes_per_step=4, families=["law-0000"])
    first = ids_of(played(twin, 1))
    fault.ids = {first[2]}
    with pytest.raises(EpisodesFailedError):
        env.step("p")
    fault.ids = set()
    ids = ids_of([env.step("p"), env.step("p")])
    assert ids[0] == first[2]
    assert len(set(ids)) == 8
    assert not set(ids[1:]) & set(first)


def test_a_failing_model_is_a_failed_episode_and_the_next_step_works(make_gates: MakeGates) -> None:
    down = [True]

    def reply(messages: Any, call: Any) -> str:
        if down[0]:
            raise metagym.errors.ModelError("the server is down")
        return "Action: knock"

    env = make_gates(ChatActor(FakeChatModel(reply)), families=["law-0000"])
    env.reset(seed=0)
    with pytest.raises(EpisodesFailedError, match=r"5 of 5 .*ModelError: the server is down"):
        env.step("p")
    down[0] = False
    assert env.step("p")[1] == 1.0


def test_an_environment_that_raises_in_the_middle_does_not_hang_or_count(make_gates: MakeGates) -> None:
    class Brittle(gymnasium.Wrapper[str, str, str, str]):
        def step(self, action: str) -> Any:
            raise OSError("the bridge fell")

    env = make_gates(cls=gates_of(Brittle))
    env.reset(seed=0)
    with pytest.raises(EpisodesFailedError, match=r"InnerEnvError: .*OSError: the bridge fell"):
        env.step("p")
    assert env.ledger.num_failed == 5


def test_failures_are_counted_and_handed_to_on_episode(failing_gates: Any, fault: Fault) -> None:
    told: list[Trajectory] = []
    env = start(failing_gates(episodes_per_step=4, max_failure_rate=0.5, on_episode=told.append))
    fault.ids = {IDS[0]}
    env.step("p")
    assert Counter(item.score is None for item in told) == {True: 1, False: 3}
    assert (env.ledger.num_episodes, env.ledger.num_failed) == (4, 1)


def test_ctrl_c_in_a_step_leaves_the_environment_usable() -> None:
    code = """if True:
        import signal, threading
        import gymnasium, metagym

        pressed = []

        async def act(episode, steps, observation):
            if not pressed:
                pressed.append(1)
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            if len(pressed) == 1:
                import asyncio
                await asyncio.Event().wait()
            return "knock"

        env = gymnasium.make("MetaGym/Gates-v0", actor=act, families=["law-0000"])
        env.reset(seed=0)
        try:
            env.step("p")
        except KeyboardInterrupt:
            pressed.append(2)
        print(pressed, env.step("p")[1])
        """
    done = run_python(code)
    assert (done.stdout, done.stderr) == ("[1, 2] 1.0\n", "")


@pytest.mark.timeout(30)
def test_an_actor_that_leaves_the_interpreter_does_not_hang_the_step(make_gates: MakeGates) -> None:
    leaving = [True]

    def act(*args: Any) -> str:
        if leaving[0]:
            raise SystemExit(3)
        return "knock"

    env = make_gates(FunctionActor(act), families=["law-0000"])
    env.reset(seed=0)
    with pytest.raises(SystemExit):
        env.step("p")
    leaving[0] = False
    assert env.step("p")[1] == 1.0


# Determinism and chance -------------------------------------------------------------------------------


def test_equal_seeds_give_equal_tasks_and_byte_equal_trajectories_in_two_processes() -> None:
    """Different hash seeds, concurrency 1 and 32, environments re-used and fresh."""
    code = """if True:
        import sys
        from metagym.envs.gates import demo, meta
        from metagym.workers import LocalWorkers

        class Fresh(LocalWorkers):
            def lease(self):
                self.close()
                return super().lease()

        env = meta.GatesMetaEnv(demo.GatesDemoActor(slip=0.3), max_concurrency=int(sys.argv[1]), schedule="fresh")
        if sys.argv[2] == "fresh":
            env.player.engine.workers = Fresh(env.make_inner_env)
        env.reset(seed=11)
        for prompt in ("p", "when the gate is oak, knock"):
            for trajectory in env.step(prompt)[0]:
                print(trajectory.model_dump_json())
        for meta_step in env.replay(["p", "q"], ["law-0001/1", "law-0002/2"], repetitions=2):
            print(meta_step.model_dump_json())
        """
    runs = [
        run_python(code, *arguments, env={"PYTHONHASHSEED": hash_seed}).stdout
        for arguments, hash_seed in [(("1", "pooled"), "0"), (("32", "fresh"), "1"), (("32", "pooled"), "2")]
    ]
    assert len(set(runs)) == 1
    assert runs[0].count("\n") == 12


def test_other_seeds_give_other_tasks(make_gates: MakeGates) -> None:
    assert len({tuple(ids_of(played(make_gates(), 1, seed=seed))) for seed in range(10)}) == 10


def test_a_second_reset_without_a_seed_goes_on_drawing(make_gates: MakeGates) -> None:
    env = make_gates()
    env.reset(seed=0)
    first = env.step("p")[4]["task_ids"]
    env.reset()
    assert env.step("p")[4]["task_ids"] != first


def seeds_of(env: MetaEnv, *, seed: int = 0, prompt: str = "p") -> list[int]:
    return [item.episode.seed for step in played(env, 2, seed=seed, prompt=prompt) for item in step[0]]


def test_model_noise_does_not_depend_on_the_prompt(make_gates: MakeGates) -> None:
    assert seeds_of(make_gates(), prompt="p") == seeds_of(make_gates(), prompt="q")


def test_two_arms_play_the_same_tasks_and_never_share_model_noise(make_gates: MakeGates) -> None:
    one, two = make_gates(arm="a"), make_gates(arm="b")
    first, second = played(one, 2), played(two, 2)
    assert ids_of(first) == ids_of(second)
    tasks = [[item.task.seed for step in steps for item in step[0]] for steps in (first, second)]
    assert tasks[0] == tasks[1]
    assert not set(seeds_of(one)) & set(seeds_of(two))


def test_model_noise_depends_on_the_repetition_and_the_run(make_gates: MakeGates) -> None:
    env = make_gates(schedule="same")
    seeds = seeds_of(env)
    assert len(set(seeds)) == 10
    assert not set(seeds) & set(seeds_of(env, seed=1))


def test_the_prompts_of_a_replay_do_not_share_model_noise(make_gates: MakeGates) -> None:
    group = make_gates().replay(["p", "p"], ["law-0001/1"], repetitions=3)
    seeds = [item.episode.seed for meta_step in group for item in meta_step.trajectories]
    assert len(set(seeds)) == 6


def test_the_order_of_arrival_does_not_change_model_noise(make_gates: MakeGates) -> None:
    forth = make_gates().replay(["p"], ["law-0001/1", "law-0001/2"])[0]
    back = make_gates().replay(["p"], ["law-0001/2", "law-0001/1"])[0]
    assert [t.episode.seed for t in forth.trajectories] == [t.episode.seed for t in back.trajectories][::-1]


# Fingerprint ------------------------------------------------------------------------------------------


def fingerprint(make_gates: MakeGates, actor: Any = "demo", **options: Any) -> str:
    env = make_gates(actor, **options)
    _, info = env.reset(seed=0)
    return str(info["fingerprint"])


@pytest.mark.parametrize(
    "options",
    [
        {"actor": "random"},
        {"actor": GatesDemoActor(slip=0.1)},
        {"families": ["law-0001"]},
        {"split": "test"},
        {"episodes_per_step": 4},
        {"schedule": "same"},
        {"max_steps": 24},
        {"invalid": "execute"},
        {"success_threshold": 0.5},
        {"cls": gates_of(lambda env: env)},
    ],
)
def test_the_fingerprint_changes_with_what_decides_a_measurement(
    make_gates: MakeGates, options: dict[str, Any]
) -> None:
    assert fingerprint(make_gates, **options) != fingerprint(make_gates)


@pytest.mark.parametrize("options", [{}, {"max_concurrency": 1}, {"arm": "b"}, {"render_mode": "ansi"}])
def test_the_fingerprint_does_not_change_with_what_decides_nothing(
    make_gates: MakeGates, options: dict[str, Any]
) -> None:
    assert fingerprint(make_gates, **options) == fingerprint(make_gates)


def test_the_fingerprint_names_model_server_and_sampling(make_gates: MakeGates) -> None:
    base = {"model": "m", "base_url": "http://localhost:1/v1"}
    others = [
        {**base, "model": "n"},
        {**base, "base_url": "http://localhost:2/v1"},
        {**base, "sampling": {"temperature": 1.0}},
        {**base, "history_steps": 3},
    ]
    digests = [fingerprint(make_gates, actor) for actor in (base, *others)]
    assert len(set(digests)) == 5
    assert fingerprint(make_gates, {**base, "timeout_s": 7}) == digests[0]


def test_the_fingerprint_is_the_same_in_the_info_of_each_step(make_gates: MakeGates) -> None:
    env = make_gates()
    _, info = env.reset(seed=0)
    assert env.step("p")[4]["fingerprint"] == info["fingerprint"]
    assert json.loads(json.dumps(env.fingerprint)) == env.fingerprint


# Every registered id ----------------------------------------------------------------------------------

IDS_IN_METAGYM = sorted(spec.id for spec in gymnasium.registry.values() if spec.namespace == "MetaGym")
INNER = [env_id for env_id in IDS_IN_METAGYM if gymnasium.spec(env_id).name.endswith("Text")]
OUTER = [env_id for env_id in IDS_IN_METAGYM if env_id not in INNER]


def made(env_id: str, **options: Any) -> Any:
    for name in ("MiniHack", "ALFWorld"):
        if name in env_id:
            pytest.importorskip(name.lower(), reason=f"needs the extra metagym[{name.lower()}]")
    return gymnasium.make(env_id, **options)


@pytest.mark.parametrize("env_id", OUTER)
def test_check_env_passes_on_every_outer_id(env_id: str) -> None:
    with made(env_id, actor="demo", render_mode="ansi") as env:
        check_env(env.unwrapped)


@pytest.mark.parametrize("env_id", OUTER)
def test_the_spec_of_every_outer_id_survives_json(env_id: str) -> None:
    with made(env_id, actor="demo") as env:
        assert EnvSpec.from_json(env.spec.to_json()).id == env_id


@pytest.mark.parametrize("env_id", OUTER)
def test_make_vec_plays_every_outer_id_synchronously(env_id: str) -> None:
    made(env_id, actor="demo").close()
    envs = gymnasium.make_vec(env_id, num_envs=2, vectorization_mode="sync", actor="demo", episodes_per_step=2)
    try:
        observations, infos = envs.reset(seed=0)
        assert list(observations) == [(), ()]
        prompts = infos["default_prompt"]
        observations, rewards, terminated, truncated, _ = envs.step(prompts)
        assert [len(batch) for batch in observations] == [2, 2]
        assert rewards.shape == terminated.shape == truncated.shape == (2,)
    finally:
        envs.close()


@pytest.mark.parametrize("env_id", INNER)
def test_every_inner_id_keeps_the_contract_of_inner_environments(env_id: str) -> None:
    check_text_env(made(env_id).unwrapped)


@pytest.mark.parametrize("env_id", INNER)
def test_check_env_passes_on_every_inner_id(env_id: str) -> None:
    with made(env_id) as env:
        check_env(env.unwrapped, skip_render_check=True)


def test_an_inner_environment_without_a_task_id_draws_one() -> None:
    texts = {GatesEnv().reset(seed=seed)[0] for seed in range(30)}
    assert len(texts) > 1
    assert GatesEnv().reset(seed=3)[0] == GatesEnv().reset(seed=3)[0]
