"""Task sets: families, splits by content, and seeded draws from the natural distribution of a role.

A task's *role* (train, validation, test) follows from a digest of its content, not from its seed: two seeds that give
the same level have the same role. Within a role, levels come as often as the family gives them. This module knows no
actors or prompts.
"""

from __future__ import annotations

import collections
import itertools
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from metagym.errors import ConfigError, TasksExhaustedError, UnknownNameError
from metagym.tasks.contents import ReadText, StartReader, TextEnv, kind_in_info
from metagym.tasks.contents import first_observation as first_observation
from metagym.tasks.questions import QuestionRow, Rows, Score, read_questions, read_score
from metagym.tasks.roles import ROLES as ROLES
from metagym.tasks.roles import role_of as role_of
from metagym.tasks.roles import tasks_by_id
from metagym.tasks.roles import with_role as with_role
from metagym.tasks.seeds import NUM_SEEDS, named_families, read_seeded_id
from metagym.types import Task, digest

MAX_REJECTIONS = 2_000
"""Tasks that are passed over in a row (drawn before, or of another role) before a family counts as exhausted."""
MAX_KNOWN_TASKS = 20_000
"""Tasks of your own environment whose content is not read again."""
LONG_SEARCH = 500
"""Tasks passed over in a row after which the search reports that it continues."""

logger = logging.getLogger(__name__)


class TaskSet(ABC):
    """The tasks of an environment, by family and split.

    A subclass lists the tasks of one family as they come (`candidates`) and finds a task by its id (`find`); this class
    passes over the tasks of other roles. If their `split` is empty, their digest decides the role (`with_role`).

    >>> from metagym.envs.gates import GatesTaskSet
    >>> tasks = GatesTaskSet()
    >>> drawn = tasks.draw(3, rng=np.random.default_rng(0), families=["law-0007"], split="test")
    >>> [task.split for task in drawn], drawn[0] == tasks.find(drawn[0].id)
    (['test', 'test', 'test'], True)
    """

    families: tuple[str, ...]
    sources: tuple[str, ...] = ()
    """Places that tasks come from; a source that is given as a split means all its tasks."""
    groups: dict[str, tuple[str, ...]]
    """Shorthand names for several families."""
    max_rejections: int | None = MAX_REJECTIONS
    """Tasks passed over in a row before a family counts as exhausted; None means no limit."""
    names_kinds: bool = False
    """Whether tasks name a kind within their family (`Task.kind`): memorisation is then measured by kind."""

    def __init__(
        self, families: Iterable[str], *, sources: Iterable[str] = (), groups: dict[str, tuple[str, ...]] | None = None
    ) -> None:
        self.families = tuple(families)
        self.sources = tuple(sources)
        self.groups = groups or {}
        if not self.families:
            raise ConfigError("A task set needs at least one family, got nothing.")

    @abstractmethod
    def candidates(self, family: str, rng: np.random.Generator) -> Iterator[Task]:
        """Yield the family's tasks of all roles, in an order drawn from `rng`; the stream may be endless."""

    @abstractmethod
    def find(self, task_id: str) -> Task:
        """Return the task of that id, or raise UnknownNameError."""

    def close(self) -> None:  # noqa: B027 - nothing to close unless a subclass opened something
        """Close the set's open files and connections."""

    def expand_families(self, families: Sequence[str] | None) -> tuple[str, ...]:
        """Return the families that are named by themselves or by their groups; None means all."""
        if families is None:
            return self.families
        return named_families(families, self.families, self.groups)

    def check_split(self, split: str) -> str:
        """Return `split` if it names a role or a source."""
        if split not in ROLES and split not in self.sources:
            raise UnknownNameError.of("split", split, (*ROLES, *self.sources))
        return split

    def draw(
        self,
        num_tasks: int,
        *,
        rng: np.random.Generator,
        families: Sequence[str] | None = None,
        split: str = "train",
        exclude: Iterable[str] = (),
    ) -> tuple[Task, ...]:
        """Draw different tasks, one family after another in random order.

        `exclude` holds the ids of tasks that must not be drawn. Too few tasks are a TasksExhaustedError. Tasks of equal
        content may be drawn: passing over contents that were seen would prefer rare levels more and more, and these
        can be easier or harder than the family.
        """
        names, seen = self.expand_families(families), set(exclude)
        self.check_split(split)
        place = "split" if split in ROLES else "source"  # a role wins over a source of the same name
        streams: dict[str, Iterator[Task]] = {}
        drawn: list[Task] = []
        exhausted: set[str] = set()
        while len(drawn) < num_tasks and len(exhausted) < len(names):
            # No more names are taken than can be used: there may be a thousand families.
            for index in rng.permutation(len(names))[: num_tasks - len(drawn)]:
                family = names[index]
                if family in exhausted:
                    continue
                stream = streams.setdefault(family, self.candidates(family, rng))
                looked_at = self._counted(itertools.islice(stream, self.max_rejections), family, split)
                new = (item for item in looked_at if getattr(item, place) == split and item.id not in seen)
                task = next(new, None)
                if task is None:
                    exhausted.add(family)
                else:
                    drawn.append(task)
                    seen.add(task.id)
        if len(drawn) < num_tasks:
            shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
            error = TasksExhaustedError(
                f"Expected {num_tasks} new tasks with split {split!r} from {shown}; only {len(drawn)} of them "
                f"are left after {len(seen) - len(drawn)} played. Ask for fewer episodes_per_step or meta-steps, "
                "or for more families."
            )
            error.num_left = len(drawn)
            raise error
        return tuple(drawn)

    def _counted(self, looked_at: Iterator[Task], family: str, split: str) -> Iterator[Task]:
        for number, task in enumerate(map(with_role, looked_at)):
            if number and number % LONG_SEARCH == 0 and self.max_rejections is not None:
                logger.warning(
                    "Searching family %r for a task with the split %r: the last %d tasks were of another role or drawn "
                    "before. The search ends after %d.",
                    *(family, split, number, self.max_rejections),
                )
            yield task

    @staticmethod
    def from_seeds(
        make_env: Callable[[], TextEnv],
        num_seeds: int,
        *,
        families: Sequence[str] = ("default",),
        digest: ReadText = first_observation,
        kind: str | ReadText | None = None,
    ) -> TaskSet:
        """Make a task set of your own environment: the seeds 0 to `num_seeds - 1` of each family.

        The environment gets the task in `reset(seed=seed, options={"task_id": "family/seed"})`.
        `digest(env, task)` returns the content that decides the role, by default the first observation: tasks of
        equal content never have two roles within a family; those of two families may. Within a role, contents come as
        often as the seeds give them.
        `kind` names the kind of a task within its family: a key of the `info` that `reset` returns, or a function
        `(env, task)`. Memorisation is then measured on fresh tasks of the kinds that a reflector saw.
        """
        if num_seeds < 1:
            raise ConfigError(f"num_seeds must be at least 1, got {num_seeds}.")
        if isinstance(families, str):
            raise ConfigError(f"families must be a list of names, got the text {families!r}. Write [{families!r}].")
        read_kind = partial(kind_in_info, kind) if isinstance(kind, str) else kind
        return _EnvTaskSet(make_env, digest, families, num_seeds, read_kind)

    @staticmethod
    def from_rows(
        rows: Rows,
        *,
        question: str = "question",
        answer: str | None = "answer",
        family: str | None = None,
        split: str | None = None,
        kind: str | None = None,
        score: str | Score = "exact",
    ) -> QuestionTaskSet:
        """Make a task set of questions: the rows of a JSONL, CSV or Parquet file, or a list of mappings.

        `question`, `answer`, `family`, `split` and `kind` name columns. An answer may be a list of accepted ones; None
        means that `score` needs no answers. Without `family` all questions are of one family, named after the file.
        With `split` (`train`, `validation` or `dev`, `test`) the official splits are the roles; without it the digest
        of the question decides. `kind` is the kind of a question within its family (see `from_seeds`). `score` is
        `exact`; `numeric` (the last number of the reply counts, and each answer is one number); or a function
        `(reply, row)`, or its import path, that returns a number from 0 to 1.

        >>> tasks = TaskSet.from_rows([{"question": "2 + 3?", "answer": "5"}], score="numeric")
        >>> tasks.families, tasks.score("questions/1", "It is 5.")
        (('questions',), True)
        """
        return QuestionTaskSet(
            read_questions(rows, question=question, answer=answer, family=family, split=split, kind=kind), score
        )


class ListedTaskSet(TaskSet):
    """A task set of listed tasks."""

    max_rejections = None  # looking at a task costs nothing here, and the list is finite

    def __init__(self, tasks: Iterable[Task], *, groups: dict[str, tuple[str, ...]] | None = None) -> None:
        self._tasks = tasks_by_id(tasks)
        self.names_kinds = any(task.kind for task in self._tasks.values())
        self._by_family: dict[str, list[Task]] = {}
        for task in self._tasks.values():
            self._by_family.setdefault(task.family, []).append(task)
        sources = sorted({task.source for task in self._tasks.values()} - {""})
        super().__init__(self._by_family, sources=sources, groups=groups)

    def draw(self, num_tasks: int, *, split: str = "train", **options: Any) -> tuple[Task, ...]:
        """Draw different tasks, see `TaskSet.draw`; the error names a split that no listed task has."""
        counts = collections.Counter(task.split for task in self._tasks.values())
        if num_tasks and split in ROLES and not counts[split]:
            there = ", ".join(f"{name} ({count})" for name, count in sorted(counts.items()))
            raise TasksExhaustedError(
                f"Expected tasks with the split {split!r}, and the list has no such tasks; it has {there}. Give some "
                f"of the tasks the split {split!r}, or leave `split` empty in all of them: then the digest of a task's "
                "content decides."
            )
        return super().draw(num_tasks, split=split, **options)

    def candidates(self, family: str, rng: np.random.Generator) -> Iterator[Task]:
        """Yield the family's tasks once each, shuffled."""
        tasks = self._by_family[family]
        return (tasks[index] for index in rng.permutation(len(tasks)))

    def find(self, task_id: str) -> Task:
        """Return the task of that id."""
        if task_id not in self._tasks:
            raise UnknownNameError.of("task id", task_id, self._tasks)
        return self._tasks[task_id]


class QuestionTaskSet(ListedTaskSet):
    """Questions with answers as tasks; `TaskSet.from_rows` makes it."""

    def __init__(self, questions: Iterable[QuestionRow], score: str | Score = "exact") -> None:
        self._questions = {question.task.id: question for question in questions}
        self.scored_by = score
        self._score = read_score(score, self._questions.values())
        self.content_digest = digest(
            [[item.task.id, item.task.split, item.text, item.answers] for item in self._questions.values()]
        )
        super().__init__(question.task for question in self._questions.values())

    def question(self, task_id: str) -> QuestionRow:
        """Return the question of that task, with its answers and its row."""
        return self._questions[self.find(task_id).id]

    def score(self, task_id: str, reply: str) -> float:
        """Return the score of a reply from 0 to 1; True or False if there is nothing in between."""
        return self._score(reply, self.question(task_id))


class SeededTaskSet(TaskSet):
    """A task set whose tasks are made from seeds; the id of a task is `family/seed`.

    Seeds are drawn as they come; a task of another role than the wanted one is passed over. `content` maps
    (family, seed) to the content of the level, as text, and `kind` to its kind within the family.
    """

    def __init__(
        self,
        families: Iterable[str],
        content: Callable[[str, int], str],
        *,
        num_seeds: int = NUM_SEEDS,
        groups: dict[str, tuple[str, ...]] | None = None,
        kind: Callable[[str, int], str] | None = None,
    ) -> None:
        super().__init__(families, groups=groups)
        self._content, self._kind = content, kind
        self._num_seeds = num_seeds
        self.names_kinds = kind is not None

    def _task(self, family: str, seed: int) -> Task:
        content = digest([family, self._content(family, seed)])
        kind = "" if self._kind is None else self._kind(family, seed)
        return with_role(Task(id=f"{family}/{seed}", family=family, seed=seed, digest=content, kind=kind))

    def candidates(self, family: str, rng: np.random.Generator) -> Iterator[Task]:
        """Yield tasks of random seeds: each seed once up to 100,000 seeds, without end beyond."""
        if self._num_seeds <= 100_000:
            return (self._task(family, int(seed)) for seed in rng.permutation(self._num_seeds))
        return (self._task(family, int(rng.integers(self._num_seeds))) for _ in itertools.count())

    def find(self, task_id: str) -> Task:
        """Return the task of that id."""
        if task_id.rpartition("/")[0] not in self.families:
            raise UnknownNameError.of("task id", task_id, (f"{name}/0" for name in self.families))
        return self._task(*read_seeded_id(task_id, num_seeds=self._num_seeds))


class _EnvTaskSet(SeededTaskSet):
    """Reads contents from its own environment, which is made when it is first needed."""

    def __init__(
        self,
        make_env: Callable[[], TextEnv],
        read: ReadText,
        families: Sequence[str],
        num_seeds: int,
        read_kind: ReadText | None,
    ) -> None:
        self._reader = StartReader(make_env)
        kind = None if read_kind is None else partial(self._reader.kind, read_kind)
        super().__init__(families, partial(self._reader.content, read), num_seeds=num_seeds, kind=kind)
        self._known: dict[tuple[str, int], Task] = {}

    def _task(self, family: str, seed: int) -> Task:
        # A reset may be slow, and a search for a rare role looks at the same seeds again for each draw.
        task = self._known.get((family, seed)) or super()._task(family, seed)
        if len(self._known) < MAX_KNOWN_TASKS:
            self._known[family, seed] = task
        return task

    def close(self) -> None:
        self._reader.close()


def check_task_set(tasks: object) -> TaskSet:
    """Return the result of `make_task_set`, if it is a task set."""
    if isinstance(tasks, TaskSet):
        return tasks
    raise ConfigError(
        f"Expected make_task_set to return a metagym.TaskSet, got {tasks!r:.80}. Return "
        "metagym.TaskSet.from_seeds(...), or metagym.ListedTaskSet(...) of a list of tasks."
    )


def is_task_list(value: Any) -> bool:
    """Whether `value` is a list of task ids."""
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(i, str) for i in value)
