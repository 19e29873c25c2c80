"""Episodes that fail for infrastructure reasons, and interruptions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import gymnasium
import pytest

import metagym
from metagym import ChatActor, MetaEnv
from metagym.actor import FunctionActor
from metagym.errors import (
    EpisodesFailedError,
)
from metagym.testing import FakeChatModel, ScriptedActor
from metagym.types import Trajectory
from tests.conftest import FailingEnv, MakeGates, gates_of, run_python
from tests.env.playing import ids_of, played

pytestmark = pytest.mark.timeout(60)


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
