"""check_meta_env: it passes environments that keep the contract, and names each breach with its remedy."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest

from metagym import MetaEnv, TaskSet
from metagym.errors import ContractError
from metagym.meta_episode import fresh
from metagym.tasks import ROLES, ListedTaskSet, SeededTaskSet
from metagym.testing import check_meta_env
from metagym.tools import tool_schema
from metagym.types import Task
from tests.conftest import CorridorEnv

COUNTER = itertools.count()


class Corridors(MetaEnv):
    """Keeps every promise; the classes below break one each."""

    default_prompt = "Walk."
    default_options = {"episodes_per_step": 3, "max_steps": 8}

    def make_inner_env(self) -> Any:
        return CorridorEnv()

    def make_task_set(self) -> TaskSet:
        return TaskSet.from_seeds(self.make_inner_env, 40, families=["corridor"], digest=lambda env, task: task.id)


@pytest.mark.parametrize(
    "env_id",
    [
        "MetaGym/Gates-v0",
        "MetaGym/ALFWorld-v0",
        "MetaGym/Questions-v0",
        pytest.param("MetaGym/MiniHack-v0", marks=pytest.mark.slow),
    ],
)
def test_the_environments_that_come_with_metagym_pass(env_id: str) -> None:
    if "MiniHack" in env_id:
        pytest.importorskip("nle", reason="needs the extra metagym[minihack]")
    check_meta_env(env_id, episodes_per_step=2)


def test_a_schedule_that_repeats_tasks_passes() -> None:
    check_meta_env(Corridors, schedule="same")


def test_tools_that_come_in_a_later_step_pass() -> None:
    check_meta_env(LateTools)


def test_a_class_and_a_function_pass() -> None:
    check_meta_env(Corridors)
    check_meta_env(lambda actor, **options: Corridors(actor, **options), seed=3, num_meta_steps=1)


def test_the_base_of_the_breaches_passes() -> None:
    check_meta_env(EnvOf)


def test_an_environment_that_lists_no_actions_passes() -> None:
    class AnyText(Corridors):
        def make_inner_env(self) -> Any:
            return CorridorEnv(actions=None)

    check_meta_env(AnyText)


@pytest.mark.slow
def test_worker_processes_are_checked_if_the_options_ask_for_them() -> None:
    check_meta_env("MetaGym/Gates-v0", episodes_per_step=2, num_meta_steps=1, workers=1)


# Breaches ---------------------------------------------------------------------------------------------


class OffersToolsLate(CorridorEnv):
    """Lists no action, and offers a tool after the first step."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        text, info = super().reset(seed=seed, options=options)
        return text, {name: info[name] for name in info if name != "available_actions"}

    def step(self, action: str) -> Any:
        is_first = not self._turns
        *rest, info = super().step("east")
        tools = {"tools": (tool_schema(weigh),)} if is_first else {}
        return *rest, {name: info[name] for name in info if name != "available_actions"} | tools


def weigh(parcel: str) -> int:
    """Weigh a parcel."""
    return len(parcel)


class LateTools(Corridors):
    offers_tools = True

    def make_inner_env(self) -> Any:
        return OffersToolsLate()


class EnvOf(Corridors):
    """Corridors with another inner environment."""

    inner: Any = CorridorEnv

    def make_inner_env(self) -> Any:
        return type(self).inner()


def tasks_of(*tasks: Task) -> type[Corridors]:
    class Listed(Corridors):
        def make_task_set(self) -> TaskSet:
            return ListedTaskSet(tasks)

    return Listed


def seeds(num: int, **fields: Any) -> list[Task]:
    return [Task(**{"id": f"corridor/{n}", "family": "corridor", "split": "", "seed": n, **fields}) for n in range(num)]


class RaisesLate(CorridorEnv):
    """Raises at field 2, which a check of the first turns may miss."""

    def step(self, action: str) -> Any:
        if action == "west" and self._field > 1:
            raise ValueError("no way back")
        return super().step(action)


class RefusesTasks(CorridorEnv):
    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        if options and options["task_id"].startswith("corridor"):
            raise KeyError(options["task_id"])
        return super().reset(seed=seed, options=options)


class ShowsItsTask(CorridorEnv):
    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        text, info = super().reset(seed=seed, options=options)
        return f"{text} ({(options or {}).get('task_id', 'no task')})", info


class EndsWithItsTask(CorridorEnv):
    """Shows the id after the last step, which only the reflector reads."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self._task = (options or {}).get("task_id", "no task")
        return super().reset(seed=seed, options=options)

    def step(self, action: str) -> Any:
        text, reward, terminated, *rest = super().step(action)
        return f"You finished {self._task}." if terminated else text, reward, terminated, *rest


class NamesItsTaskInTheOutcome(EndsWithItsTask):
    def step(self, action: str) -> Any:
        _, reward, terminated, truncated, info = super().step(action)
        return "Well.", reward, terminated, truncated, {**info, "outcome": f"finished {self._task}"}


class CountsCopies(CorridorEnv):
    """Shows another text in each copy: two environments of one class differ."""

    def __init__(self) -> None:
        super().__init__()
        self._copy = next(COUNTER)

    def _text(self) -> str:
        return f"{super()._text()} Copy {self._copy}."


class ReportsSuccessInSomeTasks(CorridorEnv):
    def _info(self) -> dict[str, Any]:
        info = super()._info()
        return info if self._length == 8 else {name: info[name] for name in info if name != "success"}


class SharesItsField(CorridorEnv):
    """Keeps its field in the class: two episodes at once change each other's."""

    field = 0

    @property
    def _field(self) -> int:
        return SharesItsField.field

    @_field.setter
    def _field(self, field: int) -> None:
        SharesItsField.field = field


class RandomOrder(Corridors):
    def make_task_set(self) -> TaskSet:
        class Unseeded(ListedTaskSet):
            def candidates(self, family: str, rng: np.random.Generator) -> Iterator[Task]:
                return super().candidates(family, np.random.default_rng())

        return Unseeded(seeds(60))


class WrongFind(Corridors):
    def make_task_set(self) -> TaskSet:
        class Finds(ListedTaskSet):
            def find(self, task_id: str) -> Task:
                return super().find("corridor/0")

        return Finds(seeds(40))


class TwoRoles(Corridors):
    def make_task_set(self) -> TaskSet:
        class Splits(SeededTaskSet):
            def _task(self, family: str, seed: int) -> Task:
                update = {"split": ("train", "test")[seed % 2], "digest": str(seed // 2)}
                return super()._task(family, seed).model_copy(update=update)

        return Splits(["corridor"], lambda family, seed: str(seed), num_seeds=40)


class RepeatsItself(Corridors):
    default_options = {"episodes_per_step": 1}

    def make_task_set(self) -> TaskSet:
        class Repeats(ListedTaskSet):
            def draw(self, num_tasks: int, *, exclude: Any = (), **options: Any) -> tuple[Task, ...]:
                return super().draw(num_tasks, **{**options, "rng": np.random.default_rng(0)})

        return Repeats(seeds(40))


class ClockInInfo(Corridors):
    def step(self, action: str) -> Any:
        *values, info = super().step(action)
        return *values, {**info, "time": time.perf_counter()}


class CountsInInfo(Corridors):
    """Passes check_env, which plays one copy; two copies differ."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.copy = next(COUNTER)

    def step(self, action: str) -> Any:
        *values, info = super().step(action)
        return *values, {**info, "copy": self.copy}


class NoScores(Corridors):
    def step(self, action: str) -> Any:
        *values, info = super().step(action)
        del info["scores"]
        return *values, info


class SumForReward(Corridors):
    def step(self, action: str) -> Any:
        batch, _, *rest = super().step(action)
        return batch, 17.0, *rest


class NumpyFlags(Corridors):
    def step(self, action: str) -> Any:
        batch, reward, terminated, truncated, info = super().step(action)
        return batch, reward, np.bool_(terminated), truncated, info


class PromptOfBytes(Corridors):
    default_prompt = b"Walk."  # type: ignore[assignment]


class PlaysInReset(Corridors):
    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        observation, info = super().reset(seed=seed, options=options)
        self.step("Walk.")
        return observation, info


class ForgetsTasks(Corridors):
    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return super().reset(seed=seed)


class ReplaysOne(Corridors):
    def replay(self, prompts: Any, task_ids: Any, **options: Any) -> Any:
        return super().replay(prompts[:1], task_ids, **options)


class ReplayDraws(Corridors):
    def replay(self, prompts: Any, task_ids: Any, **options: Any) -> Any:
        found = super().replay(prompts, task_ids, **options)
        self.step("Walk.")
        return found


class AddressInFingerprint(Corridors):
    def inner_fingerprint(self) -> dict[str, Any]:
        return {"table": next(COUNTER)}


class ClosesOnce(Corridors):
    closed = False

    def close(self) -> None:
        super().close()
        if self.closed:
            raise RuntimeError("closed already")
        self.closed = True


class NoMetaEnv(gymnasium.Env[str, str]):
    pass


@pytest.mark.filterwarnings("ignore::UserWarning")  # Gymnasium's own, on the way to the breach
@pytest.mark.parametrize(
    ("env", "message"),
    [
        (3, "a subclass of metagym.MetaEnv, an id or a function, got 3. Pass the class itself"),
        (NoMetaEnv, "a subclass of metagym.MetaEnv"),
        (lambda **options: CorridorEnv(), "a metagym.MetaEnv, got a CorridorEnv.*check_text_env"),
        (type("E", (EnvOf,), {"inner": RaisesLate}), "ValueError: no way back|every episode to be played"),
        (
            type("E", (EnvOf,), {"inner": RefusesTasks}),
            r"reset\(seed=\d+, options={'task_id': 'corridor/\d+'}\) to start an episode, got KeyError.*s.py:\d+\)",
        ),
        (type("E", (EnvOf,), {"inner": ShowsItsTask}), "no task id in what the models see, 'corridor/"),
        (type("E", (EnvOf,), {"inner": EndsWithItsTask}), "no task id in what the models see, 'corridor/"),
        (type("E", (EnvOf,), {"inner": NamesItsTaskInTheOutcome}), "no task id in what the models see, 'corridor/"),
        (type("E", (EnvOf,), {"inner": CountsCopies}), "equal trajectories from equal seeds.*another copy"),
        (
            type("E", (EnvOf,), {"inner": ReportsSuccessInSomeTasks}),
            "no success in the task 'corridor/.*, at the end of",
        ),
        (type("E", (EnvOf,), {"inner": SharesItsField}), "equal trajectories from equal seeds.*no state in the class"),
        (
            type("E", (EnvOf,), {"inner": lambda: CorridorEnv(info={"goal": 1})}),
            r"expected info\['goal'\] to be a str, got 1",
        ),
        (tasks_of(*seeds(9, split="test")), "6 tasks with the split 'train', for two meta-steps, got 0"),
        (tasks_of(*seeds(5, split="train")), "6 tasks with the split 'train'.*got 5.*fewer episodes_per_step"),
        (RandomOrder, "equal tasks from equal seeds, in every copy.*from the generator it is given"),
        (WrongFind, r"find\('corridor/.*'\) to return the drawn task"),
        (TwoRoles, "equal content to have one role.*Leave `split` empty"),
        (RepeatsItself, "no task id twice in a meta-episode"),
        (ClockInInfo, "gymnasium's check_env to pass"),
        (CountsInInfo, "equal info from equal seeds.*no counter into info"),
        (NoScores, r"all of the contract's keys in info, got no \['scores'\]"),
        (SumForReward, "the reward to be the mean of the scores, a float, got 17.0"),
        (NumpyFlags, "terminated and truncated as bools, got"),
        (PromptOfBytes, r"info\['default_prompt'\] to be a prompt, got b'Walk.'"),
        (PlaysInReset, "reset to play nothing, got episodes"),
        (ForgetsTasks, "the tasks given to reset, in order.*pass `options` on"),
        (ReplaysOne, "replay to play .* under both prompts"),
        (ReplayDraws, "equal tasks from equal seeds .with a replay in between."),
        (AddressInFingerprint, "one fingerprint for all copies.*inner_fingerprint"),
        (ClosesOnce, "the second close to raise nothing, got RuntimeError: closed already"),
    ],
)
def test_a_breach_is_named_with_its_remedy(env: Any, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        check_meta_env(env)


def test_a_fault_in_step_is_not_blamed_on_reset() -> None:
    class Slips(CorridorEnv):
        def step(self, action: str) -> Any:
            raise KeyError("lamp")

    with pytest.raises(ContractError, match=r"expected step\('\w+'\) to return.*'lamp' \(.*checks.py:\d+\)") as caught:
        check_meta_env(type("E", (EnvOf,), {"inner": Slips}))
    assert "reset" not in str(caught.value)


def test_a_fault_in_reset_is_found_while_tasks_are_read() -> None:
    class Seeds(EnvOf):
        def make_task_set(self) -> Any:
            return TaskSet.from_seeds(RefusesTasks, 50, families=["corridor"])

    with pytest.raises(ContractError, match=r"expected the task set to list its tasks, got KeyError.*checks.py:\d+\)"):
        check_meta_env(Seeds)


def test_equal_starts_end_the_check_after_a_few_resets(caplog: pytest.LogCaptureFixture) -> None:
    resets = []

    class OneStart(CorridorEnv):
        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            resets.append(seed)
            return super().reset(seed=5, options=options)

    class Seeds(EnvOf):
        def make_task_set(self) -> Any:
            return TaskSet.from_seeds(OneStart, 500, families=["a"])

    role = TaskSet.from_seeds(OneStart, 1, families=["a"]).find("a/0").split
    resets.clear()
    with pytest.raises(
        ContractError, match=r"expected starts that differ.* got 40 tasks of equal content in each of \['a'\]"
    ):
        check_meta_env(Seeds, split=next(other for other in ROLES if other != role))
    assert len(resets) <= 40
    check_meta_env(Seeds, split=role)
    assert (
        "tasks of equal content in each of ['a'], so that an evaluation will find no tasks of other roles"
        in caplog.text
    )


def test_a_spec_that_json_cannot_hold_is_a_breach() -> None:
    with pytest.raises(ContractError, match=r"a spec that JSON can hold"):
        check_meta_env("MetaGym/Gates-v0", episodes_per_step=2, schedule=fresh)
