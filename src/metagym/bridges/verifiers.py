"""Single-turn task sets of verifiers as a meta-environment: a task is a question, its rewards score the reply.

Written for verifiers 0.4.0 (`verifiers.v1`). Tasks that need a runtime (a container), tools or several turns are
not supported: only verifiers' own harnesses can play them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gymnasium

from metagym.actor import ActorSpec
from metagym.env import MetaEnv
from metagym.errors import ConfigError
from metagym.imports import import_object, package_versions, require
from metagym.spaces import TextSpace
from metagym.tasks import ListedTaskSet, TaskSet
from metagym.types import Task, digest


class VerifiersEnv(gymnasium.Env[str, str]):
    """One verifiers task: the prompt is the observation, the action is the reply, the task's rewards score it.

    `tasks` maps metagym's task ids to verifiers' tasks.
    """

    def __init__(self, tasks: Mapping[str, Any]) -> None:
        self.observation_space: TextSpace = TextSpace()
        self.action_space: TextSpace = TextSpace()
        self._tasks = tasks

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Return the question of `options["task_id"]`, or of a random task."""
        super().reset(seed=seed)
        task_id = (options or {}).get("task_id")
        if task_id is None:
            task_id = list(self._tasks)[int(self.np_random.integers(len(self._tasks)))]
        self._task = self._tasks[task_id]
        return self._task.data.prompt_text, {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Score the reply and end the episode."""
        trace = _trace(self._task, action)
        # The engine calls `step` in its own event loop; the rewards are coroutines and need another one.
        with ThreadPoolExecutor(max_workers=1) as pool:
            pool.submit(asyncio.run, self._task.score(trace)).result()
        outcome = ", ".join(f"{name} {item.value:g}" for name, item in trace.rewards.items() if item is not None)
        return f"Scored: {outcome}.", float(trace.reward), True, False, {"outcome": outcome}


class VerifiersMetaEnv(MetaEnv):
    """A meta-environment over a single-turn task set of verifiers.

    `taskset` is a `verifiers.v1.Taskset`, or the import path of one or of a function that makes one. The content of a
    task decides its role, and not its position in the set. `family_of` returns the family of a verifiers task.
    """

    default_prompt = "Answer the question."
    names_kinds = False

    def __init__(
        self,
        actor: ActorSpec = None,
        *,
        taskset: Any,
        num_tasks: int = 1000,
        family_of: Callable[[Any], str] | None = None,
        **options: Any,
    ) -> None:
        self._taskset, self._num_tasks = _read_taskset(taskset), num_tasks
        self._family_of = family_of or (lambda task: type(task).__name__)
        self._by_id: dict[str, Any] = {}
        super().__init__(actor, **options)

    def make_inner_env(self) -> VerifiersEnv:
        """Make the inner environment."""
        return VerifiersEnv(self._by_id)

    def make_task_set(self) -> TaskSet:
        """List the first `num_tasks` tasks of the set."""
        listed = []
        for number, task in enumerate(self._taskset.take(self._num_tasks)):
            family = self._family_of(task)
            content = task.data.model_dump(mode="json", exclude={"idx"}, exclude_none=True)
            listed.append(Task(id=f"{family}/{number}", family=family, seed=0, digest=digest(content)))
            self._by_id[listed[-1].id] = task
        return ListedTaskSet(listed)

    def inner_fingerprint(self) -> dict[str, Any]:
        """Return the task set, the digest of its content, and verifiers' version."""
        tasks = digest([self.task_set.find(task_id).digest for task_id in self._by_id])
        return {"taskset": type(self._taskset).__qualname__, "tasks": tasks, **package_versions("verifiers")}


def _read_taskset(taskset: Any) -> Any:
    found = import_object(taskset) if isinstance(taskset, str) else taskset
    if isinstance(found, type) or not hasattr(found, "load"):
        found = found() if callable(found) else found
    if not hasattr(found, "load") or not hasattr(found, "take"):
        raise ConfigError(f"taskset must be a verifiers.v1.Taskset, or the import path of one, got {taskset!r}.")
    return found


def _trace(task: Any, reply: str) -> Any:
    """Return the record that verifiers scores, with the question and the reply."""
    vf = require("verifiers.v1")
    question = vf.MessageNode(message=vf.UserMessage(content=task.data.prompt_text))
    answer = vf.MessageNode(parent=0, message=vf.AssistantMessage(content=reply), sampled=True)
    about = vf.TraceTask(type=type(task).__name__, data=task.data)
    agent = vf.AgentInfo(config=vf.AgentConfig())
    return vf.Trace(task=about, agent=agent, nodes=[question, answer], root_reply=reply)
