"""Rollouts: what the agent does wrong is data, what the apparatus does wrong is an error, and nobody waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metagym import ChatActor
from metagym.actors import FunctionActor, RandomActor
from metagym.errors import ContextOverflowError, ModelError
from metagym.rollout import RolloutConfig, RolloutEngine, default_score, match_command, run_episode
from metagym.testing import FakeChatModel, ScriptedActor
from metagym.types import Action, Episode, Observation, Step, StopReason, Trajectory, Usage
from metagym.workers import LocalWorkers
from tests.conftest import CorridorEnv, make_episode, make_step, make_task, make_trajectory, reply

pytestmark = pytest.mark.timeout(30)


def episodes(number: int, **fields: Any) -> list[Episode]:
    return [make_episode(task=make_task(f"corridor/{n}", seed=n), seed=n, **fields) for n in range(number)]


def engine(actor: Any, make_env: Callable[[], Any] = CorridorEnv, **options: Any) -> RolloutEngine:
    keys = ("score", "on_episode", "recall")
    more = {name: options.pop(name) for name in keys if name in options}
    return RolloutEngine(actor, LocalWorkers(make_env), config=RolloutConfig(**options), **more)


def play(actor: Any, make_env: Callable[[], Any] = CorridorEnv, *, seed: int = 2, **options: Any) -> Trajectory:
    """Play one episode; the corridor of seed 2 has four fields."""
    episode = make_episode(task=make_task(seed=seed))
    (trajectory,) = asyncio.run(engine(actor, make_env, **options).run([episode]))
    return trajectory


EAST = ScriptedActor(["east"])

# One episode ------------------------------------------------------------------------------------------


def test_an_episode_is_recorded_step_by_step() -> None:
    trajectory = play(EAST)
    assert [step.observation.text for step in trajectory.steps] == [f"Field {n} of 4." for n in (1, 2, 3)]
    assert [step.command for step in trajectory.steps] == ["east"] * 3
    assert [step.reward for step in trajectory.steps] == [0.0, 0.0, 1.0]
    assert trajectory.final_observation is not None
    assert trajectory.final_observation.text == "Field 4 of 4."
    assert (trajectory.success, trajectory.score, trajectory.stop_reason) == (True, 1.0, StopReason.TERMINATED)


def test_fault_6_observation_and_available_actions_are_those_before_the_action() -> None:
    class Changing(CorridorEnv):
        def _info(self) -> dict[str, Any]:
            return {**super()._info(), "available_actions": ("east", f"look at {self._field}")}

    trajectory = play(EAST, Changing)
    assert [step.observation.available_actions for step in trajectory.steps] == [
        ("east", f"look at {field}") for field in (1, 2, 3)
    ]


def test_goal_and_display_reach_the_observation() -> None:
    display = {"colours": [1, 2]}
    trajectory = play(EAST, lambda: CorridorEnv(info={"display": display}))
    observation = trajectory.steps[0].observation
    assert (observation.goal, observation.display) == ("Go to the last field.", display)


def test_events_of_the_environment_are_recorded() -> None:
    trajectory = play(EAST, lambda: CorridorEnv(info={"events": ("y", "ESC")}))
    assert trajectory.steps[0].events == ("y", "ESC")


@pytest.mark.parametrize("text", ["fly", "eastt", "e", "", "  ", "Action: east", "east.", "step east"])
def test_fault_4_an_action_that_is_not_available_is_data_and_is_not_executed(text: str) -> None:
    envs: list[CorridorEnv] = []

    def make() -> CorridorEnv:
        envs.append(CorridorEnv())
        return envs[-1]

    trajectory = play(ScriptedActor([text, "east"]), make)
    first, second = trajectory.steps[:2]
    assert (first.command, first.is_valid, first.reward, first.action.text) == (None, False, 0.0, text)
    assert second.observation.feedback
    assert second.observation.model_copy(update={"feedback": ""}) == first.observation
    assert second.is_valid
    assert envs[0].commands == ["east"] * 3
    assert trajectory.num_invalid == 1


def test_feedback_says_what_was_wrong_and_then_goes_away() -> None:
    steps = play(ScriptedActor(["fly", Action(text=None, problem="No action."), "", "east"])).steps
    assert [step.observation.feedback for step in steps[:5]] == [
        "",
        "'fly' is not an available action.",
        "No action.",
        "Your action was empty.",
        "",
    ]


def test_an_action_without_text_or_problem_is_told_as_unreadable() -> None:
    steps = play(ScriptedActor([Action(text=None), "east"])).steps
    assert steps[1].observation.feedback == "Your reply could not be read."


def test_endless_bad_replies_end_at_max_steps() -> None:
    trajectory = play(ChatActor(FakeChatModel(["I will not."])), max_steps=7)
    assert (len(trajectory.steps), trajectory.stop_reason) == (7, StopReason.STEP_LIMIT)
    assert (trajectory.success, trajectory.score, trajectory.num_invalid) == (False, 0.0, 7)


def test_invalid_execute_hands_the_action_to_the_environment_and_records_that_it_was_invalid() -> None:
    trajectory = play(ScriptedActor(["fly", "east"]), invalid="execute")
    first, second = trajectory.steps[:2]
    assert (first.command, first.is_valid) == ("fly", False)
    assert second.observation.text == "Nothing happens. Field 1 of 4."
    assert second.observation.feedback == ""


def test_invalid_execute_still_executes_nothing_where_there_is_no_action() -> None:
    step = play(ScriptedActor([Action(text=None, problem="?"), "east"]), invalid="execute").steps[0]
    assert (step.command, step.is_valid) == (None, False)


def test_without_a_list_any_text_is_tried() -> None:
    trajectory = play(ScriptedActor(["dance", "east"]), lambda: CorridorEnv(actions=None))
    assert (trajectory.steps[0].command, trajectory.steps[0].is_valid) == ("dance", True)


def test_the_executed_command_is_the_available_one_and_the_action_stays_as_given() -> None:
    step = play(ScriptedActor(["  EAST "])).steps[0]
    assert (step.action.text, step.command, step.is_valid) == ("  EAST ", "east", True)


# Matching ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "available", "command"),
    [
        ("go n", ("go n", "GO N"), "go n"),
        ("Go N", ("go n",), "go n"),
        ("  go \t n ", ("go n",), "go n"),
        ("go n", ("go  n",), "go  n"),
        ("go N", ("go n", "GO N"), None),
        ("go", ("go n",), None),
        ("go n.", ("go n",), None),
        ("'go n'", ("go n",), None),
        ("", ("go n",), None),
        ("", ("", "go n"), None),
        ("x", (), None),
        ("anything", None, "anything"),
        (" ", None, None),
    ],
)
def test_matching_is_exact_then_case_and_white_space_and_no_looser(
    text: str, available: tuple[str, ...] | None, command: str | None
) -> None:
    assert match_command(text, available) == command


@given(st.text(max_size=10), st.lists(st.text(max_size=10), max_size=5))
def test_fault_4_nothing_is_ever_mapped_to_another_move(text: str, available: list[str]) -> None:
    command = match_command(text, available)
    assert command is None or command in available
    assert command is None or "".join(command.split()).casefold() == "".join(text.split()).casefold()


# Why an episode ends ----------------------------------------------------------------------------------


def test_a_terminated_episode_says_so_and_keeps_the_environments_own_word() -> None:
    trajectory = play(EAST, lambda: CorridorEnv(info={"outcome": "reached the end"}))
    assert (trajectory.stop_reason, trajectory.stop_detail) == (StopReason.TERMINATED, "reached the end")


def test_an_episode_that_the_environment_cuts_off_is_truncated() -> None:
    trajectory = play(ScriptedActor(["west"]), lambda: CorridorEnv(limit=3))
    assert (trajectory.stop_reason, len(trajectory.steps)) == (StopReason.TRUNCATED, 3)


def test_an_episode_that_ends_and_is_cut_off_at_once_is_terminated() -> None:
    assert play(EAST, lambda: CorridorEnv(limit=3)).stop_reason is StopReason.TERMINATED


def test_an_episode_that_takes_too_many_steps_reaches_the_step_limit() -> None:
    trajectory = play(ScriptedActor(["west"]), max_steps=4)
    assert (trajectory.stop_reason, len(trajectory.steps)) == (StopReason.STEP_LIMIT, 4)


def test_a_conversation_that_grows_too_long_is_data_and_counts() -> None:
    model = FakeChatModel(["Action: east", ContextOverflowError("too long")])
    trajectory = play(ChatActor(model))
    assert (trajectory.stop_reason, len(trajectory.steps)) == (StopReason.CONTEXT_OVERFLOW, 1)
    assert (trajectory.score, trajectory.success, trajectory.error) == (0.0, False, "")


def test_an_apparatus_that_fails_is_an_error_without_a_score() -> None:
    model = FakeChatModel(["Action: east", ModelError("the server is down")])
    trajectory = play(ChatActor(model))
    assert (trajectory.stop_reason, trajectory.score) == (StopReason.ERROR, None)
    assert trajectory.error == "ModelError: the server is down"
    assert trajectory.success is None


def test_what_was_played_before_the_failure_is_kept_and_counted() -> None:
    model = FakeChatModel(["Action: east", "Action: east", ModelError("down")])
    trajectory = play(ChatActor(model))
    assert [step.command for step in trajectory.steps] == ["east", "east"]
    assert trajectory.usage.num_calls == 2


def test_a_model_that_failed_is_not_asked_again_by_the_engine() -> None:
    model = FakeChatModel([ModelError("down")])
    play(ChatActor(model), attempts=5)
    assert len(model.calls) == 1


def test_an_environment_that_fails_is_tried_again_within_a_bound() -> None:
    resets: list[int] = []

    def broken(where: str) -> None:
        if where == "reset":
            resets.append(1)
            if len(resets) < 3:
                raise OSError("not yet")

    assert play(EAST, lambda: CorridorEnv(broken=broken), attempts=3).score == 1.0
    assert len(resets) == 3


def test_an_environment_that_raises_in_the_middle_is_an_error_after_its_attempts() -> None:
    made: list[CorridorEnv] = []

    def broken(where: str) -> None:
        if where == "step east" and made[-1].commands:
            raise OSError("the floor gave way")

    def make() -> CorridorEnv:
        made.append(CorridorEnv(broken=broken))
        return made[-1]

    trajectory = play(EAST, make, attempts=2)
    assert trajectory.stop_reason is StopReason.ERROR
    assert (
        trajectory.error == "InnerEnvError: The inner environment raised in step('east'): OSError: the floor gave way"
    )
    assert len(trajectory.steps) == 1
    assert len(made) == 2


def test_an_actor_that_raises_is_an_error_and_is_not_paid_for_twice() -> None:
    asked: list[int] = []

    def act(*args: Any) -> str:
        asked.append(1)
        raise ZeroDivisionError("oops")

    trajectory = play(FunctionActor(act), attempts=5)
    assert (trajectory.error, trajectory.score) == ("ZeroDivisionError: oops", None)
    assert len(asked) == 1


@pytest.mark.parametrize("answer", [None, 3, {"text": "east"}])
def test_an_actor_that_returns_no_action_is_an_error_and_hangs_nothing(answer: Any) -> None:
    assert play(FunctionActor(lambda *args: answer)).stop_reason is StopReason.ERROR


@pytest.mark.parametrize("info", [None, {"goal": 3}, {"available_actions": 5}, {"available_actions": (1, 2)}])
def test_an_environment_with_an_odd_info_is_an_error(info: Any) -> None:
    class Odd(CorridorEnv):
        def _info(self) -> Any:
            return info

    assert play(EAST, Odd).stop_reason is StopReason.ERROR


# Scores -----------------------------------------------------------------------------------------------


def test_the_default_score_is_success_where_it_is_reported_else_the_return() -> None:
    steps = [make_step(reward=0.25), make_step(reward=0.5)]
    assert default_score(make_trajectory(steps, success=True)) == 1.0
    assert default_score(make_trajectory(steps, success=False)) == 0.0
    assert default_score(make_trajectory(steps, success=None)) == 0.75


def test_fault_5_a_positive_reward_is_no_success_where_the_environment_says_otherwise() -> None:
    class Bait(CorridorEnv):
        def step(self, action: str) -> Any:
            text, _, _, truncated, info = super().step(action)
            return text, 0.5, True, truncated, {**info, "success": False}

    trajectory = play(EAST, Bait)
    assert (trajectory.episode_return, trajectory.success, trajectory.score) == (0.5, False, 0.0)


def test_an_environment_that_reports_no_success_leaves_it_open() -> None:
    trajectory = play(EAST, lambda: CorridorEnv(report_success=False))
    assert (trajectory.success, trajectory.score) == (None, 1.0)


def test_a_score_of_ones_own_counts() -> None:
    assert play(EAST, score=lambda trajectory: -len(trajectory.steps)).score == -3.0


def test_a_score_that_raises_is_an_error_of_the_apparatus() -> None:
    def score(trajectory: Trajectory) -> float:
        raise KeyError("weights")

    trajectory = play(EAST, score=score)
    assert (trajectory.stop_reason, trajectory.score) == (StopReason.ERROR, None)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_score_that_is_no_finite_number_is_an_error_of_the_apparatus(value: float) -> None:
    trajectory = play(EAST, score=lambda trajectory: value)
    assert (trajectory.stop_reason, trajectory.score) == (StopReason.ERROR, None)


def test_the_usage_is_the_sum_over_the_steps() -> None:
    usage = Usage(prompt_tokens=10, cached_tokens=4, completion_tokens=2, num_calls=1)
    model = FakeChatModel([reply("Action: east", usage=usage)])
    assert play(ChatActor(model)).usage == usage + usage + usage


def test_a_trajectory_says_whether_a_stand_in_played_and_which_revision() -> None:
    class Trained:
        revision = "step-7"

        async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
            return Action(text="east")

    assert play(EAST).scripted
    trajectory = play(Trained())
    assert (trajectory.scripted, trajectory.actor_revision) == (False, "step-7")


def test_run_episode_plays_one_episode_on_one_environment() -> None:
    async def main() -> Trajectory:
        async with LocalWorkers(CorridorEnv).lease() as env:
            return await run_episode(make_episode(task=make_task(seed=2)), EAST, env)

    assert asyncio.run(main()) == play(EAST)


# The engine -------------------------------------------------------------------------------------------


class Gate:
    """An actor that waits at the door until it is let in, and tells who stands there."""

    scripted = True

    def __init__(self, held: Callable[[Episode], bool] = lambda episode: True) -> None:
        self.held = held
        self.open = asyncio.Event()
        self.waiting: set[str] = set()
        self.most = 0

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        if self.held(episode):
            self.waiting.add(episode.task.id)
            self.most = max(self.most, len(self.waiting))
            await self.open.wait()
            self.waiting.discard(episode.task.id)
        return Action(text="east")


async def settle() -> None:
    """Let everything run that can run without time passing."""
    for _ in range(500):
        await asyncio.sleep(0)


def test_trajectories_come_in_the_order_of_the_episodes() -> None:
    asked = episodes(20)
    assert [item.episode for item in asyncio.run(engine(EAST).run(asked))] == asked


def test_no_episodes_are_no_trajectories() -> None:
    assert asyncio.run(engine(EAST).run([])) == ()


def test_fault_7_a_slow_episode_does_not_hold_up_the_others() -> None:
    async def main() -> None:
        gate = Gate(lambda episode: episode.task.id == "corridor/0")
        finished: list[str] = []
        playing = engine(gate, on_episode=lambda item: finished.append(item.task.id), max_concurrency=2)
        run = asyncio.create_task(playing.run(episodes(30)))
        await settle()
        assert sorted(finished) == sorted(f"corridor/{n}" for n in range(1, 30))
        assert not run.done()
        gate.open.set()
        assert len(await run) == 30
        assert finished[-1] == "corridor/0"

    asyncio.run(main())


def test_a_slow_step_of_one_episode_is_not_waited_for_by_the_steps_of_others() -> None:
    """Lockstep would leave every other episode at the same step."""

    async def main() -> None:
        gate = Gate(lambda episode: episode.task.id == "corridor/6")
        finished: list[str] = []
        run = asyncio.create_task(engine(gate, on_episode=lambda item: finished.append(item.task.id)).run(episodes(7)))
        await settle()
        assert len(finished) == 6
        gate.open.set()
        await run

    asyncio.run(main())


@pytest.mark.parametrize(("limit", "most"), [(1, 1), (3, 3), (64, 10)])
def test_no_more_than_max_concurrency_episodes_are_in_flight(limit: int, most: int) -> None:
    async def main() -> int:
        gate = Gate()
        run = asyncio.create_task(engine(gate, max_concurrency=limit).run(episodes(10)))
        await settle()
        assert len(gate.waiting) == most
        gate.open.set()
        await run
        return gate.most

    assert asyncio.run(main()) <= most


def test_runs_at_the_same_time_share_the_bound_on_concurrency() -> None:
    """Reflectors with rollouts of their own play side by side."""

    async def main() -> int:
        gate = Gate()
        playing = engine(gate, max_concurrency=3)
        tasks = episodes(10)
        runs = [asyncio.create_task(playing.run(tasks[start : start + 2])) for start in range(0, 10, 2)]
        await settle()
        assert len(gate.waiting) == 3
        gate.open.set()
        assert [len(await run) for run in runs] == [2] * 5
        return gate.most

    assert asyncio.run(main()) == 3


def test_on_episode_is_called_once_for_each_as_it_finishes() -> None:
    told: list[Trajectory] = []
    trajectories = asyncio.run(engine(EAST, on_episode=told.append, max_concurrency=3).run(episodes(11)))
    assert sorted(told, key=lambda item: item.task.seed) == list(trajectories)


def test_fault_7_one_failed_call_does_not_throw_the_batch_away() -> None:
    def act(episode: Episode, steps: Sequence[Step], observation: Observation) -> str:
        if episode.task.seed == 3:
            raise ModelError("down")
        return "east"

    trajectories = asyncio.run(engine(FunctionActor(act)).run(episodes(8)))
    assert [item.score for item in trajectories] == [1.0, 1.0, 1.0, None, 1.0, 1.0, 1.0, 1.0]


def test_an_on_episode_that_raises_loses_nothing_that_was_finished() -> None:
    told: list[Trajectory] = []

    def on_episode(trajectory: Trajectory) -> None:
        told.append(trajectory)
        if len(told) == 4:
            raise OSError("the disk is full")

    async def main() -> None:
        playing = engine(EAST, on_episode=on_episode, max_concurrency=2)
        with pytest.raises(OSError, match=r"the disk is full"):
            await playing.run(episodes(20))
        assert all(item.score == 1.0 for item in told)
        assert len(told) >= 4
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert len(await playing.run(episodes(3))) == 3

    asyncio.run(main())


def test_an_on_episode_that_raises_does_not_wait_for_the_episodes_in_flight() -> None:
    def on_episode(trajectory: Trajectory) -> None:
        raise OSError("the disk is full")

    async def main() -> None:
        gate = Gate(lambda episode: episode.task.id == "corridor/0")  # which never opens
        with pytest.raises(OSError, match=r"the disk is full"):
            await engine(gate, on_episode=on_episode, max_concurrency=2).run(episodes(5))

    asyncio.run(main())


def test_cancelling_leaves_no_tasks_and_the_engine_usable() -> None:
    async def main() -> None:
        gate = Gate()
        playing = engine(gate, max_concurrency=4)
        run = asyncio.create_task(playing.run(episodes(10)))
        await settle()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert asyncio.all_tasks() == {asyncio.current_task()}
        gate.open.set()
        assert [item.score for item in await playing.run(episodes(10))] == [1.0] * 10

    asyncio.run(main())


def test_an_actor_that_leaves_the_interpreter_is_not_swallowed() -> None:
    def act(*args: Any) -> str:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        asyncio.run(engine(FunctionActor(act)).run(episodes(5)))


def test_recalled_episodes_are_not_played_and_not_told_again() -> None:
    asked = episodes(4)
    known = {asked[1].key: make_trajectory(episode=asked[1]), asked[3].key: make_trajectory(episode=asked[3])}
    told: list[str] = []
    playing = engine(EAST, recall=lambda e: known.get(e.key), on_episode=lambda item: told.append(item.task.id))
    trajectories = asyncio.run(playing.run(asked))
    assert (trajectories[1], trajectories[3]) == (known[asked[1].key], known[asked[3].key])
    assert sorted(told) == ["corridor/0", "corridor/2"]


class Fresh(LocalWorkers):
    """Makes an environment for each episode."""

    def lease(self) -> Any:
        self.close()
        return super().lease()


@pytest.mark.parametrize("actor", [RandomActor(), EAST, ChatActor(FakeChatModel(["Action: fly", "Action: east"]))])
def test_trajectories_do_not_depend_on_concurrency_or_on_the_re_use_of_environments(actor: Any) -> None:
    def dump(concurrency: int, workers: LocalWorkers) -> list[str]:
        config = RolloutConfig(max_concurrency=concurrency)
        playing = RolloutEngine(actor, workers, config=config)
        return [item.model_dump_json() for item in asyncio.run(playing.run(episodes(40)))]

    one = dump(1, LocalWorkers(CorridorEnv))
    assert dump(32, LocalWorkers(CorridorEnv)) == one
    assert dump(32, Fresh(CorridorEnv)) == one
    assert dump(1, Fresh(CorridorEnv)) == one
