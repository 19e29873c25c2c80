"""Rendering and closing, scripts that forget to close, and calls inside a running event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import gymnasium
import pytest

from metagym import background
from metagym.actor import Actor
from metagym.envs.gates.meta import GatesMetaEnv
from metagym.errors import (
    ConfigError,
    EpisodesFailedError,
)
from metagym.testing import ScriptedActor
from metagym.types import Episode, Observation, Step
from tests.conftest import MakeGates, Serve, gates_of, run_python
from tests.env.playing import played

pytestmark = pytest.mark.timeout(60)


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
    env = make_gates("tests.env.test_closing:ClosingActor")
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


def test_it_may_be_closed_in_the_thread_of_the_background_loop() -> None:
    """The garbage collector closes a forgotten vector environment in whatever thread it happens to run."""

    class Closable(ScriptedActor):
        closed = threading.Event()

        async def aclose(self) -> None:
            self.closed.set()

    class OwnActorEnv(GatesMetaEnv):
        @staticmethod
        def make_demo_actor() -> Actor:
            return Closable(["knock"])

    env = OwnActorEnv("demo")

    async def close() -> None:
        env.close()

    background.run(close())
    assert Closable.closed.wait(10)
