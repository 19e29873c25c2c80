"""The content and the kind of a task of your own environment."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from metagym.envs.gates.env import GatesEnv
from metagym.errors import ConfigError, UnknownNameError
from metagym.tasks import TaskSet, first_observation
from tests.conftest import CorridorEnv, make_task


def test_the_default_content_is_the_text_after_reset() -> None:
    task = make_task("law-0007/3", family="law-0007", seed=3)
    assert first_observation(GatesEnv(), task) == GatesEnv().reset(seed=3, options={"task_id": task.id})[0]


@pytest.mark.parametrize("kind", ["length", lambda env, task: env.reset(seed=task.seed)[1]["length"]])
def test_from_seeds_takes_the_kind_of_a_task_from_info_or_a_function(kind: Any) -> None:
    class Named(CorridorEnv):
        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            text, info = super().reset(seed=seed, options=options)
            return text, {**info, "length": text.split()[-1]}

    tasks = TaskSet.from_seeds(Named, 70, kind=kind)
    assert tasks.names_kinds
    assert not TaskSet.from_seeds(Named, 70).names_kinds
    found = [tasks.find(f"default/{seed}").kind for seed in range(70)]
    assert len(set(found)) == 7
    assert found == [*found[:7]] * 10


@pytest.mark.parametrize("kind", [OSError, SystemExit])
def test_an_environment_that_fails_in_close_hides_no_error_of_a_task_and_harms_no_caller(
    kind: type[BaseException],
) -> None:
    class Brittle(CorridorEnv):
        def close(self) -> None:
            raise kind("broken in close")

    def read(env: Any, task: Any) -> str:
        env.reset()
        if task.seed == 1:
            raise ValueError("as asked")
        return str(task.seed)

    tasks = TaskSet.from_seeds(Brittle, 70, digest=read)
    with pytest.raises(ValueError, match="as asked"):
        tasks.find("default/1")
    tasks.find("default/2")
    tasks.close()


def test_a_content_may_be_a_value_of_numpy() -> None:
    def contents(read: Any) -> list[str]:
        tasks = TaskSet.from_seeds(CorridorEnv, 5, digest=read)
        return [tasks.find(f"default/{seed}").digest for seed in range(5)]

    assert contents(lambda env, task: np.int64(task.seed)) == contents(lambda env, task: task.seed)
    assert contents(lambda env, task: np.arange(task.seed)) == contents(lambda env, task: [*range(task.seed)])


@pytest.mark.parametrize(
    ("value", "given"), [(None, "None .NoneType."), ({"a"}, "{.a.} .set."), (b"a", "b'a' .bytes.")]
)
def test_a_content_that_is_no_text_is_refused(value: Any, given: str) -> None:
    tasks = TaskSet.from_seeds(CorridorEnv, 5, digest=lambda env, task: value)
    with pytest.raises(ConfigError, match=rf"Expected digest.* content of default/3 as a text, got {given}. Return"):
        tasks.find("default/3")


@pytest.mark.parametrize("value", [3, None, np.int64(3)])
def test_a_kind_that_is_no_text_is_refused(value: Any) -> None:
    tasks = TaskSet.from_seeds(CorridorEnv, 5, kind=lambda env, task: value)
    with pytest.raises(ConfigError, match=r"Expected kind.* the kind of default/3 as a text, got .* Return str\(...\)"):
        tasks.find("default/3")


def test_a_kind_that_info_lacks_is_an_error() -> None:
    tasks = TaskSet.from_seeds(CorridorEnv, 70, kind="colour")
    with pytest.raises(UnknownNameError, match=r"Unknown key of info 'colour'.*Let reset return the kind"):
        tasks.find("default/1")
