"""The plan of an evaluation: the decisions that are made before anything is played."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import gymnasium
import numpy as np

from metagym.env import MetaEnv, meta_env_of
from metagym.errors import ConfigError, LeakError, TasksExhaustedError, UnknownNameError
from metagym.evaluation.config import EvaluationConfig
from metagym.evaluation.controls import ArmKind
from metagym.evaluation.difficulty import contents_of
from metagym.evaluation.preset import MAX_FAMILIES, PresetEnvironment
from metagym.optimizers import Optimizer
from metagym.optional_attributes import describe, extension_of
from metagym.reflectors import Reflector
from metagym.registration import make
from metagym.runs import Manifest
from metagym.types import Task, derive_seed, digest

TASKS_ARE_SET_BY = {
    "train": "num_steps or episodes_per_step",
    "validation": "num_validation",
    "test": "num_test",
}
"""The options that set the number of tasks of each role."""


class Plan:
    """The families and the task lists of an evaluation, drawn and checked before anything is played."""

    def __init__(
        self, env: MetaEnv, config: EvaluationConfig, learn_from: Mapping[str, str], arm: str, kind: ArmKind = "method"
    ) -> None:
        named = config.families or env.config.families
        families = env.task_set.expand_families(named)
        if named is None and len(families) > MAX_FAMILIES:
            raise ConfigError(f"Expected the families to evaluate, got nothing ({len(families)} exist). Name them.")
        self.config = config.model_copy(update={"families": families})
        self.arm, self.kind = arm, kind
        for name in learn_from:
            if name not in families:
                raise UnknownNameError.of("family in learn_from", name, families)
        self.learn_from = {name: learn_from.get(name, name) for name in families}
        env.task_set.expand_families(tuple(self.learn_from.values()))
        self.first_prompt = env.check_prompt(env.default_prompt if config.first_prompt is None else config.first_prompt)
        self.validation = {name: self._draw_tasks(env, name, "validation", config.num_validation) for name in families}
        self.test = {name: self._draw_tasks(env, name, "test", config.num_test) for name in families}
        num_learning = config.num_steps * config.episodes_per_step
        learning = [
            self._draw_tasks(env, name, "train", num_learning) for name in dict.fromkeys(self.learn_from.values())
        ]
        by_family = dict(zip(dict.fromkeys(self.learn_from.values()), learning, strict=True))
        self.contents = {
            name: {
                role: contents_of(tasks)
                for role, tasks in (
                    ("train", by_family[self.learn_from[name]]),
                    ("validation", self.validation[name]),
                    ("test", self.test[name]),
                )
            }
            for name in families
        }
        """The contents among the tasks of each family and role; those of `train` as one meta-episode draws them."""
        self.roles = {
            "validation": [task for tasks in self.validation.values() for task in tasks],
            "test": [task for tasks in self.test.values() for task in tasks],
        }
        check_disjoint({"train": [task for tasks in learning for task in tasks], **self.roles})

    def fingerprint(self, env: MetaEnv) -> dict[str, Any]:
        """Return the settings that must match for a comparison: all but the reflector and its learning environment."""
        exclude = {"first_prompt", "retries", "primary_endpoint"}
        if self.config.test_repetitions == 1:  # so that evaluations match that were made before there were any
            exclude.add("test_repetitions")
        return {
            **env.fingerprint,
            **_OF_THE_PROTOCOL,
            "evaluation": self.config.model_dump(mode="json", exclude=exclude),
            "sp_0": self.first_prompt,
            "task_lists": {role: digest([task.digest for task in tasks]) for role, tasks in self.roles.items()},
        }

    def manifest(
        self, made: gymnasium.Env[Any, Any], reflector: Reflector, optimizer: Optimizer | None = None
    ) -> Manifest:
        """Return the manifest, which is written before the first episode."""
        env = cast(MetaEnv, made.unwrapped)
        spec = made.spec
        return Manifest(
            env_id=spec.id if spec is not None else f"{type(env).__module__}:{type(env).__qualname__}",
            env_options=json.loads(json.dumps(dict(spec.kwargs) if spec else {}, default=describe)),
            reflector=describe(reflector),
            seed=self.config.task_seed,
            num_steps=self.config.num_steps,
            first_prompt=self.config.first_prompt,
            measurement=self.fingerprint(env),
            arm={
                "arm": self.arm,
                "reflector": describe(reflector),
                "learn_from": self.learn_from,
                **({} if optimizer is None else {"optimizer": describe(optimizer)}),
            },
            scripted=extension_of(env.actor).scripted or extension_of(reflector).scripted,
            evaluation={
                "config": self.config.model_dump(mode="json"),
                "arm": self.arm,
                "kind": self.kind,
                "needs_chance": "either"
                if self.kind == "same again"
                else extension_of(optimizer).needs_chance or extension_of(reflector).needs_chance,
                "contents": {
                    name: {role: item.model_dump(mode="json") for role, item in roles.items()}
                    for name, roles in self.contents.items()
                },
                **({"has_kinds": True} if env.task_set.names_kinds else {}),
                "learn_from": {name: other for name, other in self.learn_from.items() if name != other},
            },
        )

    def _draw_tasks(self, env: MetaEnv, family: str, role: str, num_tasks: int) -> tuple[Task, ...]:
        if num_tasks == 0:
            return ()
        rng = np.random.default_rng(derive_seed(role, self.config.task_seed, family))
        try:
            return env.task_set.draw(num_tasks, rng=rng, families=[family], split=role)
        except TasksExhaustedError as error:
            found = "" if error.num_left is None else f", and there are {error.num_left}"
            raise TasksExhaustedError(
                f"Family {family!r} has too few {role} tasks for this protocol: it asks for {num_tasks}{found}. "
                f"Lower {TASKS_ARE_SET_BY[role]} (on the command line: --option NAME=N)."
            ) from error


_OF_THE_PROTOCOL = {"schedule": "blocked", "split": "train", "success_threshold": None}
"""The options of an environment that an evaluation sets itself, whatever the environment was made with."""


def check_task_lists(places: Sequence[tuple[PresetEnvironment, EvaluationConfig]]) -> None:
    """Draw the task lists of evaluations as they would be drawn, and play nothing.

    Raises:
        TasksExhaustedError: a family has too few tasks of a role.
        LeakError: a content has two roles.
    """
    for environment, config in places:
        options = {**environment.options, "families": list(config.families)}
        with make(environment.id, actor="random", **options) as env:
            Plan(meta_env_of(env), config, {}, "")


def check_disjoint(roles: Mapping[str, Sequence[Task]]) -> None:
    """Check that no content has two roles; raise a LeakError if one does."""
    seen: dict[str, str] = {}
    for role, tasks in roles.items():
        for task in tasks:
            other = seen.setdefault(task.digest, role)
            if other != role:
                raise LeakError(
                    f"Expected {other} and {role} tasks of different content; {task.id!r} (digest {task.digest}) is in "
                    "both. Split tasks by a digest of their content, not by their seed."
                )
