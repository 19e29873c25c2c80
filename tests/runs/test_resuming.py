"""A run that stopped, killed or not, is resumed to the log of a run that never stopped."""

from __future__ import annotations

import math
import random
import shutil
import signal
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metagym import optimize
from metagym.budget import Budget
from metagym.envs.gates.demo import GatesDemoActor
from metagym.errors import BudgetExceededError, ConfigError, EpisodesFailedError, ModelError, RunFolderError
from metagym.runs import LOG, RunFolder
from metagym.runs.running import run_experiment
from metagym.testing import ScriptedActor
from metagym.types import Action, Episode, Observation, Reflection, Step
from tests.conftest import (
    FailingEnv,
    MakeGates,
    Serve,
    gates_of,
    run_python,
)
from tests.runs.conftest import OPTIONS, lines_of, manifest


def test_resuming_a_finished_run_plays_nothing_and_gives_the_same(finished: Path) -> None:
    before = (finished / LOG).read_bytes()
    told: list[int] = []
    run = RunFolder.open(finished)
    result = run_experiment(run.manifest, finished, resume=True, on_episode=lambda: told.append(1))
    assert (finished / LOG).read_bytes() == before
    assert result.history == run.history
    assert told == []


class Odd:
    """A reflector whose fingerprint a test sets."""

    scripted = True
    fingerprint: Any = None

    async def reflect(self, history: Any) -> Reflection:
        return Reflection(prompt=history[-1].prompt)


class Hiccup(GatesDemoActor):
    """An actor whose first call fails for infrastructure reasons."""

    has_failed = False

    async def act(self, episode: Episode, steps: Sequence[Step], observation: Observation) -> Action:
        if not Hiccup.has_failed:
            Hiccup.has_failed = True
            raise ModelError("HTTP 500")
        return await super().act(episode, steps, observation)


def endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "value", [math.nan, [-math.inf], "half \ud800", (1, (2,)), {1: 2}, np.float32(0.5), np.arange(2)], ids=repr
)
def test_a_run_with_odd_values_in_a_fingerprint_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any
) -> None:
    monkeypatch.setattr(Odd, "fingerprint", {"value": value})
    about = manifest(reflector="tests.runs.test_resuming:Odd", num_steps=1)
    result = run_experiment(about, tmp_path / "run")
    assert run_experiment(about, tmp_path / "run", resume=True).history == result.history


@pytest.mark.parametrize(
    "value", [{3}, b"x", object(), 10**400, endless()], ids=["set", "bytes", "object", "int", "deep"]
)
def test_a_fingerprint_that_cannot_be_read_back_is_refused_before_anything_is_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any
) -> None:
    monkeypatch.setattr(Odd, "fingerprint", {"value": value})
    with pytest.raises(ConfigError, match=r"fingerprint of tests.runs.test_resuming:Odd must be JSON, so that"):
        run_experiment(manifest(reflector="tests.runs.test_resuming:Odd"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_failure_that_was_tolerated_stays_when_the_run_is_resumed(tmp_path: Path) -> None:
    options = {"actor": "tests.runs.test_resuming:Hiccup", "max_failure_rate": 0.4, "episodes_per_step": 3}
    about = manifest(env_options={**options, "budget": {"episodes": 6}})
    with pytest.raises(BudgetExceededError):
        run_experiment(about, tmp_path / "run")
    result = run_experiment(about, tmp_path / "run", resume=True, budget=Budget(episodes=100))
    assert [meta_step.num_failed for meta_step in result.history] == [1, 0, 0, 0]


def test_resuming_with_another_reflector_is_refused(finished: Path) -> None:
    with pytest.raises(RunFolderError, match=r"because its fingerprint differs \(reflector.kind: was"):
        run_experiment(manifest(reflector="fixed"), finished, resume=True)


def test_resuming_with_other_options_is_refused(finished: Path) -> None:
    with pytest.raises(RunFolderError, match=r"differs \(max_steps: was 25, is 9\)"):
        run_experiment(manifest(env_options={**OPTIONS, "max_steps": 9}), finished, resume=True)


@pytest.mark.parametrize("where", range(10))
def test_a_log_cut_anywhere_is_resumed_to_the_same_log(finished: Path, tmp_path: Path, where: int) -> None:
    """Also within a line, and within a character."""
    whole = (finished / LOG).read_bytes()
    cut = tmp_path / "cut"
    shutil.copytree(finished, cut)
    (cut / LOG).write_bytes(whole[: random.Random(where).randrange(len(whole))])
    run_experiment(RunFolder.open(cut).manifest, cut, resume=True)
    assert (cut / LOG).read_bytes() == whole


KILLED = """if True:
    import os, signal, sys
    from metagym.runs import journal
    from metagym.runs.running import run_experiment
    from metagym.runs import Manifest

    path, left = sys.argv[1], int(sys.argv[2])

    def mortal(handle, content):
        '''Kill the process when a given number of bytes is written, in the middle of a line.'''
        global left
        os.write(handle, content[:left])
        left -= len(content)
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    journal._write_all = mortal
    run_experiment(Manifest.model_validate_json(sys.argv[3]), path, resume=len(sys.argv) > 4)
    """


@pytest.mark.slow
def test_killed_with_9_at_ten_random_moments_and_resumed_gives_the_log_of_an_uninterrupted_run(
    finished: Path, tmp_path: Path
) -> None:
    whole = (finished / LOG).read_bytes()
    rng = random.Random(0)
    path = tmp_path / "killed"
    spent = 0
    for kill in range(10):
        room = max(2, 2 * (len(whole) - spent) // (11 - kill))
        written = rng.randrange(1, room)
        resume = ["resume"] if kill else []
        done = run_python(KILLED, str(path), str(written), manifest().model_dump_json(), *resume)
        assert done.returncode == -signal.SIGKILL, done.stderr
        content = (path / LOG).read_bytes()
        spent = content.rfind(b"\n") + 1
        assert whole.startswith(content)
    run_experiment(RunFolder.open(path).manifest, path, resume=True)
    assert (path / LOG).read_bytes() == whole


def test_failed_episodes_are_played_again_on_resuming(tmp_path: Path, make_gates: MakeGates) -> None:
    down = [True]
    plain = make_gates(ScriptedActor(["knock"]), families=["law-0000"])
    _, _ = plain.reset(seed=0)
    ids = plain.step("p")[4]["task_ids"]
    cls = gates_of(lambda env: FailingEnv(env, lambda task_id: down[0] and task_id == ids[2]))

    def play() -> Any:
        env = make_gates(ScriptedActor(["knock"]), cls=cls, families=["law-0000"])
        env.record_to(run)
        return optimize(env, lambda history: "next", 2, seed=0, log=run)

    with RunFolder.create(tmp_path / "run", manifest()) as run, pytest.raises(EpisodesFailedError):
        play()
    assert [line["record"]["score"] for line in lines_of(tmp_path / "run")].count(None) == 1
    down[0] = False
    with RunFolder.open(tmp_path / "run") as run:
        result = play()
    assert result.rewards == (1.0, 1.0)
    played = Counter(
        line["record"]["episode"]["task"]["id"] for line in lines_of(tmp_path / "run") if line["kind"] == "episode"
    )
    assert {task_id for task_id, times in played.items() if times > 1} == {ids[2]}


def test_only_the_fields_that_differ_are_named(finished: Path) -> None:
    with pytest.raises(RunFolderError, match=r"differs \(max_steps: was 25, is 9; ") as caught:
        run_experiment(manifest(env_options={**OPTIONS, "max_steps": 9}, reflector="fixed"), finished, resume=True)
    assert "episodes_per_step" not in str(caught.value)


def test_a_run_is_resumed_with_its_model_at_another_address(tmp_path: Path, serve: Serve) -> None:
    servers = [serve("ANALYSIS: So.\nIMPROVED PROMPT: Push.\nAction: push") for _ in range(2)]
    first, again = ({"model": "m", "base_url": server.base_url} for server in servers)
    about = [
        manifest(env_options={**OPTIONS, "actor": model}, reflector=model, num_steps=2) for model in (first, again)
    ]
    result = run_experiment(about[0].model_copy(update={"num_steps": 1}), tmp_path / "run")
    resumed = run_experiment(about[1], tmp_path / "run", resume=True)
    assert resumed.history[0] == result.history[0]
    assert servers[1].requests
