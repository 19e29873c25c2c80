"""Task sets: roles that divide tasks by content, and natural draws that never repeat a task id."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metagym import MetaEnv
from metagym.envs.alfworld.tasks import GeneratedTaskSet
from metagym.envs.gates.env import GatesEnv, GatesTaskSet
from metagym.errors import ConfigError, TasksExhaustedError, UnknownNameError
from metagym.meta_episode import TaskQueue
from metagym.tasks import ROLES, ListedTaskSet, SeededTaskSet, TaskSet, first_observation, role_of, with_role
from metagym.testing import ScriptedActor, check_meta_env
from metagym.types import Task
from tests.conftest import CorridorEnv, make_task, run_python


def listed(num_tasks: int = 30, families: tuple[str, ...] = ("a", "b", "c"), **fields: Any) -> ListedTaskSet:
    """Return `num_tasks` train tasks, given to the families in turn."""
    turns = itertools.cycle(families)
    tasks = [make_task(f"task-{i}", family=next(turns), seed=i, **fields) for i in range(num_tasks)]
    return ListedTaskSet(tasks, groups={"ab": ("a", "b")})


# Roles ------------------------------------------------------------------------------------------------


@given(st.text(max_size=20))
def test_a_content_has_one_role(content: str) -> None:
    assert role_of(content) in ROLES
    assert role_of(content) == role_of(content)


def test_the_roles_have_the_shares_60_20_20() -> None:
    counts = Counter(role_of(str(number)) for number in range(5_000))
    assert counts["train"] / 5_000 == pytest.approx(0.6, abs=0.03)
    assert counts["validation"] / 5_000 == pytest.approx(0.2, abs=0.03)


@given(st.integers(1, 40))
@settings(max_examples=40)
def test_seeds_of_equal_content_are_never_in_two_roles(num_contents: int) -> None:
    tasks = SeededTaskSet(["f"], lambda family, seed: str(seed % num_contents), num_seeds=200)
    roles: dict[int, set[str]] = {}
    for number in range(200):
        roles.setdefault(number % num_contents, set()).add(tasks.find(f"f/{number}").split)
    assert all(len(names) == 1 for names in roles.values())


@given(st.integers(1, 60), st.sampled_from(ROLES), st.integers(0, 5))
@settings(max_examples=60)
def test_all_tasks_of_a_role_are_drawn_once_and_then_the_family_is_exhausted(
    num_contents: int, split: str, seed: int
) -> None:
    tasks = SeededTaskSet(["f"], lambda family, seed: str(seed % num_contents), num_seeds=200)
    expected = {f"f/{n}" for n in range(200) if tasks.find(f"f/{n}").split == split}
    drawn = tasks.draw(len(expected), rng=np.random.default_rng(seed), split=split)
    assert {task.id for task in drawn} == expected
    assert {task.split for task in drawn} <= {split}
    with pytest.raises(TasksExhaustedError, match=f"Expected {len(expected) + 1} new tasks"):
        tasks.draw(len(expected) + 1, rng=np.random.default_rng(seed), split=split)


def test_disjoint_roles_are_disjoint_levels_not_only_disjoint_seeds() -> None:
    """Few distinct levels behind many seeds: no level of one role is a level of another."""
    tasks = SeededTaskSet(["room"], lambda family, seed: f"level {seed % 50}", num_seeds=10_000)
    levels = {
        role: {task.seed % 50 for task in tasks.draw(60, rng=np.random.default_rng(1), split=role)} for role in ROLES
    }
    assert all(not levels[a] & levels[b] for a, b in itertools.combinations(ROLES, 2))
    assert all(len(found) > 5 for found in levels.values())


def test_equal_content_in_two_families_is_two_contents() -> None:
    tasks = SeededTaskSet(["f", "g"], lambda family, seed: "same")
    assert tasks.find("f/1").digest != tasks.find("g/1").digest


# Draws ------------------------------------------------------------------------------------------------


@given(st.integers(0, 1_000), st.integers(0, 30))
@settings(max_examples=50)
def test_a_draw_holds_no_task_twice(seed: int, num_tasks: int) -> None:
    drawn = listed().draw(num_tasks, rng=np.random.default_rng(seed))
    assert len({task.id for task in drawn}) == num_tasks


def common_or_rare(family: str, seed: int) -> str:
    """One content of four in five seeds, and as many rare ones as there are other seeds."""
    return "common" if seed % 5 else f"rare {seed}"


@pytest.mark.parametrize(
    "tasks",
    [
        SeededTaskSet(["f"], common_or_rare, num_seeds=1_000),
        SeededTaskSet(["f"], common_or_rare),
        TaskSet.from_seeds(CorridorEnv, 1_000, families=["f"], digest=lambda env, task: common_or_rare("f", task.seed)),
        ListedTaskSet(
            make_task(f"t{n}", family="f", seed=n, split="", digest=common_or_rare("f", n)) for n in range(1_000)
        ),
    ],
    ids=["few seeds", "all seeds", "from_seeds", "listed"],
)
def test_each_meta_step_draws_contents_as_often_as_the_role_has_them(tasks: TaskSet) -> None:
    split = next(role for role in ROLES if _share_of_common(tasks, role) > 0)
    early, late = [], []
    for seed in range(60):
        queue = TaskQueue(tasks, rng=np.random.default_rng(seed), batch_size=5, families=["f"], split=split)
        batches = [queue.draw() for _ in range(8)]
        early += [task.seed % 5 > 0 for task in batches[0]]
        late += [task.seed % 5 > 0 for task in batches[-1]]
    natural = _share_of_common(tasks, split)
    assert np.mean(early) == pytest.approx(natural, abs=0.07)  # three standard errors of 300 draws
    assert np.mean(late) == pytest.approx(natural, abs=0.07)


def _share_of_common(tasks: TaskSet, split: str) -> float:
    stream = itertools.islice(tasks.candidates("f", np.random.default_rng(9)), 1_000)
    common = [task.seed % 5 > 0 for task in stream if task.split == split]
    return float(np.mean(common))


@pytest.mark.parametrize(
    ("tasks", "family"), [(GatesTaskSet(), "law-0007"), (GeneratedTaskSet(), "pick_two_obj_and_place")]
)
@pytest.mark.parametrize("split", ROLES)
def test_a_meta_episode_plays_a_familys_own_stream_without_the_other_roles(
    tasks: TaskSet, family: str, split: str
) -> None:
    queue = TaskQueue(tasks, rng=_stream_of(family), batch_size=3, families=[family], split=split)
    drawn = [task for _ in range(10) for task in queue.draw()]
    natural = (task for task in tasks.candidates(family, _stream_of(family)) if task.split == split)
    assert drawn == list(itertools.islice(natural, 30))


def _stream_of(family: str) -> np.random.Generator:
    return np.random.default_rng([3, *family.encode()])


def test_equal_generators_draw_equal_tasks() -> None:
    draws = [listed().draw(10, rng=np.random.default_rng(7)) for _ in range(2)]
    assert draws[0] == draws[1]
    assert draws[0] != listed().draw(10, rng=np.random.default_rng(8))


def test_equal_seeds_draw_equal_tasks_in_any_process() -> None:
    code = """if True:
        import numpy as np
        from metagym.envs.gates import GatesTaskSet
        drawn = GatesTaskSet().draw(20, rng=np.random.default_rng(3), split="validation")
        print([task.id for task in drawn])"""
    printed = {run_python(code, env={"PYTHONHASHSEED": seed}).stdout for seed in ("0", "1")}
    assert len(printed) == 1
    assert "law-" in printed.pop()


def test_families_are_drawn_in_turn() -> None:
    drawn = listed(30).draw(9, rng=np.random.default_rng(0))
    assert Counter(task.family for task in drawn) == {"a": 3, "b": 3, "c": 3}


def test_an_exhausted_family_leaves_its_turns_to_the_others() -> None:
    tasks = ListedTaskSet([make_task("a-0", family="a"), *(make_task(f"b-{i}", family="b") for i in range(5))])
    drawn = tasks.draw(6, rng=np.random.default_rng(0))
    assert Counter(task.family for task in drawn) == {"a": 1, "b": 5}


def test_excluded_ids_are_not_drawn() -> None:
    first = listed(10).draw(6, rng=np.random.default_rng(0))
    rest = listed(10).draw(4, rng=np.random.default_rng(0), exclude=[task.id for task in first])
    assert not {task.id for task in first} & {task.id for task in rest}


def test_the_last_task_of_a_long_list_is_found() -> None:
    tasks = listed(6_000, families=("a",))
    played = [f"task-{i}" for i in range(5_999)]
    for seed in range(5):
        assert tasks.draw(1, rng=np.random.default_rng(seed), exclude=played)[0].id == "task-5999"


def test_exhausted_tasks_are_an_error_with_the_remedy() -> None:
    with pytest.raises(
        TasksExhaustedError, match=r"Expected 31 new tasks with split 'train' from a, b, c; only 30 .* are left"
    ) as raised:
        listed(30).draw(31, rng=np.random.default_rng(0))
    assert "Ask for fewer episodes_per_step" in str(raised.value)


def test_a_family_of_one_level_has_tasks_of_one_role_without_end() -> None:
    one_level = SeededTaskSet(["f"], lambda family, seed: "the only level")
    split = one_level.find("f/0").split
    assert len({task.id for task in one_level.draw(9, rng=np.random.default_rng(0), split=split)}) == 9
    for other in {*ROLES} - {split}:
        with pytest.raises(TasksExhaustedError):
            one_level.draw(1, rng=np.random.default_rng(0), split=other)


def test_a_draw_makes_few_levels_even_if_there_are_many_families() -> None:
    looked: list[int] = []
    tasks = SeededTaskSet([f"f{i}" for i in range(1_000)], lambda family, seed: str(looked.append(seed) or seed))
    tasks.draw(5, rng=np.random.default_rng(0))
    assert len(looked) < 100


# Names ------------------------------------------------------------------------------------------------


def test_groups_are_shorthand_for_families() -> None:
    tasks = listed()
    assert tasks.expand_families(["ab", "c", "a"]) == ("a", "b", "c")
    assert tasks.expand_families(None) == ("a", "b", "c")
    drawn = tasks.draw(8, rng=np.random.default_rng(0), families=["ab"])
    assert {task.family for task in drawn} == {"a", "b"}


def test_an_unknown_family_is_an_error_with_the_nearest_names() -> None:
    tasks = SeededTaskSet(["Room", "River"], lambda family, seed: str(seed))
    with pytest.raises(UnknownNameError, match=r"Unknown family 'room'.*Did you mean 'Room'\?"):
        tasks.expand_families(["room"])


@pytest.mark.parametrize("families", [[], ()])
def test_families_must_be_a_non_empty_list(families: Any) -> None:
    with pytest.raises(ConfigError, match=r"families must be a non-empty list of names, got"):
        listed().expand_families(families)


def test_a_text_in_place_of_a_list_of_families_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"families must be a list of names, got the text 'a'. Write \['a'\]"):
        listed().expand_families("a")


def test_a_list_of_what_is_no_task_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"Expected tasks of the class metagym.Task, got {'id': 'a'}. Write metagym"):
        ListedTaskSet([{"id": "a"}])  # type: ignore[list-item]


def test_an_unknown_split_is_an_error_with_the_nearest_names() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown split 'trian'.*Did you mean 'train'\?"):
        listed().draw(1, rng=np.random.default_rng(0), split="trian")


def test_a_source_given_as_split_means_everything_in_it() -> None:
    tasks = ListedTaskSet([make_task(f"t{i}", family="f", split="", source=("old", "new")[i % 2]) for i in range(40)])
    assert tasks.sources == ("new", "old")
    drawn = tasks.draw(20, rng=np.random.default_rng(0), split="old")
    assert {task.source for task in drawn} == {"old"}
    assert {task.split for task in drawn} == set(ROLES)
    with pytest.raises(TasksExhaustedError):
        tasks.draw(21, rng=np.random.default_rng(0), split="old")


def test_a_listed_task_gets_its_role_from_its_digest() -> None:
    tasks = ListedTaskSet([make_task(f"t{i}", split="", digest=f"content {i % 3}") for i in range(9)])
    assert {tasks.find(f"t{i}").split for i in (0, 3, 6)} == {role_of("content 0")}


class Plain(TaskSet):
    """Tasks without split and digest."""

    def candidates(self, family: str, rng: np.random.Generator) -> Iterator[Task]:
        return (self.find(f"{family}/{number}") for number in range(300))

    def find(self, task_id: str) -> Task:
        return Task(id=task_id, family="corridor", seed=int(task_id.rpartition("/")[2]))


def test_tasks_of_your_own_task_set_get_their_role_from_their_digest() -> None:
    tasks = Plain(["corridor"])
    for split in ROLES:
        drawn = tasks.draw(20, rng=np.random.default_rng(0), split=split)
        assert all(task.split == split == role_of(task.digest) for task in drawn)

    class Corridors(MetaEnv):
        make_inner_env = staticmethod(CorridorEnv)
        default_options = {"episodes_per_step": 3}

        def make_task_set(self) -> TaskSet:
            return Plain(["corridor"])

    check_meta_env(Corridors, max_steps=8)
    with Corridors(ScriptedActor(["east"])) as env:
        env.reset(seed=0, options={"task_ids": ["corridor/1", "corridor/2", "corridor/3"]})
        played = [*env.step("Walk.")[0], *env.replay(["Walk."], ["corridor/4"])[0].trajectories]
    assert [item.task for item in played] == [with_role(tasks.find(f"corridor/{number}")) for number in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([{"id": "a"}, {"id": "a"}], "Expected each task to have its own id, got 'a' twice"),
        (
            [{"id": "a", "split": "train", "digest": "x"}, {"id": "b", "split": "test", "digest": "x"}],
            "Expected one role for equal content, got 'a' in 'train' and 'b' in 'test'",
        ),
        ([{"id": "a", "split": "trian"}], "Unknown split of the task 'a' 'trian'.*Did you mean 'train'"),
    ],
)
def test_listed_tasks_that_contradict_each_other_are_refused(fields: list[dict[str, Any]], message: str) -> None:
    with pytest.raises((ConfigError, UnknownNameError), match=message):
        ListedTaskSet([make_task(**{"split": "", **given}) for given in fields])


def test_a_drawn_task_is_found_by_its_id() -> None:
    for tasks in (listed(), SeededTaskSet(["f"], lambda family, seed: str(seed))):
        for task in tasks.draw(5, rng=np.random.default_rng(0)):
            assert tasks.find(task.id) == task


@pytest.mark.parametrize(
    "task_id", ["f/100", "f/-1", "f/", "f", "g/1", "f/x", "f/1.0", "f/01", "f/٣", "f/" + "9" * 5_000, ""]
)
def test_an_unknown_task_id_is_a_typed_error(task_id: str) -> None:
    tasks = SeededTaskSet(["f"], lambda family, seed: str(seed), num_seeds=100)
    with pytest.raises(UnknownNameError, match=r"Unknown task id"):
        tasks.find(task_id)


def test_an_unknown_listed_task_id_is_an_error_with_the_nearest_names() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown task id 'task_3'.*Did you mean 'task-3'"):
        listed(5).find("task_3")


def test_a_task_set_without_families_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"at least one family, got nothing"):
        ListedTaskSet([])


# Your own environment ---------------------------------------------------------------------------------


def test_from_seeds_reads_the_role_from_the_first_observation() -> None:
    tasks = TaskSet.from_seeds(CorridorEnv, 70)
    found = [tasks.find(f"default/{seed}") for seed in range(70)]
    assert len({task.digest for task in found}) == 7  # the corridor has seven lengths
    assert all(found[seed].digest == found[seed % 7].digest for seed in range(70))


def test_from_seeds_takes_a_users_digest() -> None:
    tasks = TaskSet.from_seeds(CorridorEnv, 20, digest=lambda env, task: str(task.seed), families=["corridor"])
    assert len({tasks.find(f"corridor/{seed}").digest for seed in range(20)}) == 20


def test_from_seeds_makes_its_environment_when_needed_and_closes_it() -> None:
    made: list[CorridorEnv] = []

    def make() -> CorridorEnv:
        made.append(CorridorEnv())
        return made[-1]

    tasks = TaskSet.from_seeds(make, 10)
    assert made == []
    tasks.find("default/1")
    tasks.find("default/2")
    tasks.close()
    tasks.close()
    assert [env.closed for env in made] == [1]


def test_from_seeds_needs_a_seed() -> None:
    with pytest.raises(ConfigError, match=r"num_seeds must be at least 1, got 0"):
        TaskSet.from_seeds(CorridorEnv, 0)


def test_from_seeds_gives_the_family_to_the_environment() -> None:
    content = lambda env, task: f"{first_observation(env, task)} {task.seed}"  # noqa: E731
    tasks = TaskSet.from_seeds(GatesEnv, 60, families=["law-0007", "law-0008"], digest=content)
    drawn = tasks.draw(4, rng=np.random.default_rng(0))
    assert sorted(task.family for task in drawn) == ["law-0007", "law-0007", "law-0008", "law-0008"]
    # Equal texts in two families are two contents.
    assert tasks.find("law-0007/3").digest != tasks.find("law-0008/3").digest


def test_from_seeds_takes_a_list_of_families() -> None:
    with pytest.raises(ConfigError, match=r"families must be a list of names, got the text 'east'. Write \['east'\]"):
        TaskSet.from_seeds(CorridorEnv, 5, families="east")


def test_a_seed_of_your_own_environment_is_read_once() -> None:
    resets: list[int | None] = []

    class Counts(CorridorEnv):
        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            resets.append(seed)
            return super().reset(seed=seed, options=options)

    tasks = TaskSet.from_seeds(Counts, 40)
    for _ in range(3):
        tasks.draw(5, rng=np.random.default_rng(0))
    assert len(resets) == len(set(resets))


def test_a_long_search_says_that_it_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    tasks = TaskSet.from_seeds(CorridorEnv, 1_200, digest=lambda env, task: "one content")
    (split,) = {task.split for task in (tasks.find("default/1"),)}
    other = next(role for role in ROLES if role != split)
    with pytest.raises(TasksExhaustedError):
        tasks.draw(1, rng=np.random.default_rng(0), split=other)
    assert [record.args[2] for record in caplog.records] == [500, 1000]  # type: ignore[index, call-overload]
