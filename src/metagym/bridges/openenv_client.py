"""An environment that OpenEnv serves as an inner environment, and a meta-environment over it.

Written for openenv 0.10.0. Sessions run over OpenEnv's own client. The tasks are those of the server's Task API, or
seeds if it has no such tasks. A server passes on only those arguments that its environment's `reset` names, and an
environment may ignore a seed (issue 1102 of OpenEnv is such a case). So starts are compared before anything is played.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, NamedTuple

import gymnasium

from metagym.actor import ActorSpec
from metagym.env import MetaEnv
from metagym.errors import ConfigError
from metagym.imports import package_versions, require
from metagym.spaces import TextSpace
from metagym.tasks import ROLES, ListedTaskSet
from metagym.tools.calls import read_json
from metagym.types import Task, clean_text, digest

NO_CONTENT = ("reward", "done", "metadata")
NUM_CHECKED = 4
"""Tasks that are started twice, to see whether the server keeps seeds and indexes."""


class Server(NamedTuple):
    """The address of the server, and how actions and observations are written."""

    url: str
    name: str
    version: str
    action: str | None
    """The field of an action that takes the text; None if the text is the whole action in JSON."""
    text: str | None
    """The field of an observation that is shown; None for the whole observation in JSON."""


def read_server(url: str, *, action: str | None = None, text: str | None = None) -> Server:
    """Ask a server for its schemas; without `action` and `text` they are the only texts in its schemas."""
    url = url.rstrip("/")
    about, schema = _ask(url, "/metadata"), _ask(url, "/schema")
    fields = _texts(schema["action"])
    alone = fields if schema["action"].get("required", fields) == fields else []
    texts = _texts(schema["observation"])
    action = action or (alone[0] if len(alone) == 1 else None)
    name = (_ask(url, "/list_environments") or [about["name"]])[0]
    return Server(url, name, about.get("version") or "", action, text or (texts[0] if len(texts) == 1 else None))


class OpenEnvEnv(gymnasium.Env[str, str]):
    """A session of a server as an inner environment; `reset_arguments` maps a task id to the arguments of `reset`."""

    def __init__(self, server: Server, reset_arguments: Mapping[str, Mapping[str, Any]]) -> None:
        self.observation_space: TextSpace = TextSpace()
        self.action_space: TextSpace = TextSpace()
        self._server, self._arguments = server, reset_arguments
        self._client: Any = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start `options["task_id"]`, or a random task."""
        super().reset(seed=seed)
        task_id = (options or {}).get("task_id")
        if task_id is None:
            task_id = list(self._arguments)[int(self.np_random.integers(len(self._arguments)))]
        return self.start(self._arguments[task_id]), {}

    def start(self, arguments: Mapping[str, Any]) -> str:
        """Start an episode, and return its first text."""
        if self._client is None:
            client = require("openenv.core.generic_client").GenericEnvClient(base_url=self._server.url)
            self._client = client.sync().connect()
        return self._text(self._client.reset(**arguments))

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Send the action; one that the server cannot read costs a step and says so."""
        try:
            sent = read_json(action) if self._server.action is None else {self._server.action: action}
        except ValueError as error:
            return f"Expected the action as a JSON object: {error}.", 0.0, False, False, {}
        if not isinstance(sent, dict):
            return f"Expected the action as a JSON object, got {sent!r:.100}.", 0.0, False, False, {}
        try:
            result = self._client.step(sent)
        except RuntimeError as error:
            if "VALIDATION_ERROR" not in str(error):
                raise
            return "The server does not accept this action.", 0.0, False, False, {}
        return self._text(result), float(result.reward or 0.0), bool(result.done), False, {}

    def close(self) -> None:
        """End the session."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _text(self, result: Any) -> str:
        shown = {name: value for name, value in result.observation.items() if name not in NO_CONTENT}
        if self._server.text is not None:
            return clean_text(str(shown.get(self._server.text, "")))
        return clean_text(json.dumps(shown, sort_keys=True, ensure_ascii=False))


class OpenEnvMetaEnv(MetaEnv):
    """A meta-environment over a server of OpenEnv; its environment is the family.

    A server needs `max_concurrent_envs` of at least `max_concurrency + 1`. Tasks are the first `num_tasks` of each
    split, or the seeds 0 to `num_tasks - 1`. Splits of several types (train, validation, test) are the roles; else the
    content decides: a task's data, or the observations of a seed at the start and after the action `probe`.

    A server that starts one task in two ways, or all tasks alike, drops seeds or indexes, and is refused. With
    `need_seeds=False` it is marked instead: `seeds` is `dropped` in the fingerprint.
    """

    default_prompt = "You act in an environment. Read each observation, and reach the goal."
    default_options: ClassVar[Mapping[str, Any]] = {"max_concurrency": 4}
    names_kinds = False

    def __init__(
        self,
        actor: ActorSpec = None,
        *,
        base_url: str,
        action: str | None = None,
        text: str | None = None,
        num_tasks: int = 200,
        probe: str = "hello",
        need_seeds: bool = True,
        **options: Any,
    ) -> None:
        self._server = read_server(base_url, action=action, text=text)
        self._num_tasks, self._probe = num_tasks, probe
        self._arguments: dict[str, dict[str, Any]] = {}
        listed = _listed_tasks(self._server, num_tasks) or _seeds(self._server, num_tasks)
        self._arguments = {task.id: arguments for task, arguments in listed}
        self._problem = self._find_dropped_seeds()
        if self._problem and need_seeds:
            raise ConfigError(
                f"Expected a server that keeps seeds and indexes of tasks; at {self._server.url} {self._problem}. Name "
                "them in the environment's reset, give a probe that shows the task, or pass need_seeds=False."
            )
        self._tasks = [task for task, _ in listed]
        super().__init__(actor, **options)

    def make_inner_env(self) -> OpenEnvEnv:
        """Make the inner environment."""
        return self.inner_env_factory()()

    def inner_env_factory(self) -> Callable[[], OpenEnvEnv]:
        """Return a function that makes an inner environment in a worker process."""
        return partial(OpenEnvEnv, self._server, self._arguments)

    def make_task_set(self) -> ListedTaskSet:
        """Make the task set."""
        if all(task.digest for task in self._tasks) or self._problem:
            return ListedTaskSet(self._tasks)
        starts = self._starts(list(self._arguments))
        return ListedTaskSet(task.model_copy(update={"digest": digest(starts[task.id])}) for task in self._tasks)

    def inner_fingerprint(self) -> dict[str, Any]:
        """Return the environment, its tasks, and whether they can be played again."""
        tasks = digest([[task.id, task.digest, task.split] for task in self._tasks])
        return {
            **{"environment": self._server.name, "version": self._server.version, "tasks": tasks, "probe": self._probe},
            **{"action": self._server.action, "text": self._server.text},
            **{"seeds": "dropped" if self._problem else "kept", "packages": package_versions("openenv")},
        }

    def _find_dropped_seeds(self) -> str:
        names = list(self._arguments)[:NUM_CHECKED]
        first, second = self._starts(names), self._starts(names[::-1])
        if changed := [name for name in names if first[name] != second[name]]:
            return f"the task {changed[0]!r} started in two ways"
        if len(names) > 1 and len({json.dumps(first[name]) for name in names}) == 1:
            return f"{len(names)} tasks started alike"
        return ""

    def _starts(self, names: list[str]) -> dict[str, list[Any]]:
        env = OpenEnvEnv(self._server, self._arguments)
        try:
            return {name: [env.start(self._arguments[name]), env.step(self._probe)[:3]] for name in names}
        finally:
            env.close()


def _listed_tasks(server: Server, num_tasks: int) -> list[tuple[Task, dict[str, Any]]]:
    """Return the tasks of the server's Task API with the arguments that start them; empty if it has no such tasks."""
    try:
        splits = _ask(server.url, f"/{server.name}/splits")
        counts = [_ask(server.url, f"/{server.name}/num_tasks", split=split["name"])["num_tasks"] for split in splits]
    except urllib.error.HTTPError:
        return []
    types, roles_of_content, found = {split["type"] for split in splits}, dict[str, str](), []
    for split, count in zip(splits, counts, strict=True):
        for index in range(min(count, num_tasks)):
            data = _ask(server.url, f"/{server.name}/task", split=split["name"], index=index)["task"]
            own = {key: value for key, value in data.items() if key not in ("id", "index", "split")}
            content = digest(own or [split["name"], index])
            role = split["type"] if len(types) > 1 and split["type"] in ROLES else ""
            if roles_of_content.setdefault(content, role) != role:
                raise ConfigError(f"A task of the split {split['name']!r} is in another split, too: index {index}.")
            name = f"{server.name}/{split['name']}/{index}"
            task = Task(id=name, family=server.name, seed=index, split=role, source=split["name"], digest=content)
            found.append((task, {"split": split["name"], "index": index, "seed": index}))
    return found


def _seeds(server: Server, num_seeds: int) -> list[tuple[Task, dict[str, Any]]]:
    tasks = (Task(id=f"{server.name}/{seed}", family=server.name, seed=seed) for seed in range(num_seeds))
    return [(task, {"seed": task.seed}) for task in tasks]


def _texts(schema: Mapping[str, Any]) -> list[str]:
    fields = schema.get("properties", {}).items()
    return [name for name, field in fields if field.get("type") == "string" and name not in NO_CONTENT]


def _ask(url: str, path: str, **data: Any) -> Any:
    body = json.dumps(data).encode() if data else None
    request = urllib.request.Request(url + path, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)
