"""One experiment: a meta-environment, a reflector and a seed, run into a run folder, and resumed from it."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import gymnasium

import metagym  # noqa: F401 - registers the ids
from metagym.env import MetaEnv
from metagym.errors import ConfigError, UnknownNameError
from metagym.models import Cassette
from metagym.optimization import OptimizationResult, optimize
from metagym.runs import CallLog, Manifest, RunFolder
from metagym.seeding import describe
from metagym.specs import import_object, make_reflector
from metagym.spending import Budget
from metagym.types import MetaStep


def make_meta_env(env_id: str, options: Mapping[str, Any], *, num_steps: int | None = None) -> gymnasium.Env[Any, Any]:
    """Make a meta-environment, whose meta-episode is at least `num_steps` long.

    `env_id` is a registered id, or the import path of a class of one's own, `package.module:MyMetaEnv`.

    Raises:
        ConfigError: the id is unknown, or it is no meta-environment.
    """
    if ":" in env_id:
        found = import_object(env_id)
        if not (isinstance(found, type) and issubclass(found, MetaEnv)):
            raise ConfigError(f"Expected the import path of a subclass of metagym.MetaEnv, got {env_id!r}.")
        return found(**options)
    known = meta_env_ids()
    if env_id not in known:
        remedy = "A class of yours is named by its import path: package.module:MyMetaEnv."
        raise UnknownNameError.of("meta-environment", env_id, known, remedy=remedy)
    return gymnasium.make(env_id, max_episode_steps=num_steps, **options)


def meta_env_ids() -> list[str]:
    """Return the ids of the registered meta-environments."""
    return sorted(
        spec.id
        for spec in gymnasium.registry.values()
        if spec.namespace == "MetaGym" and not spec.name.endswith("Text")
    )


def run_experiment(
    manifest: Manifest,
    path: str | Path,
    *,
    resume: bool = False,
    budget: Budget | None = None,
    cassette: Cassette | None = None,
    on_episode: Callable[[], Any] | None = None,
    on_meta_step: Callable[[MetaStep], Any] | None = None,
) -> OptimizationResult:
    """Run the experiment that `manifest` asks for into the folder `path`, or go on with it.

    `budget` takes the place of the environment's own, and counts what earlier runs in the folder spent.
    `cassette` is by default the folder's own, so that no reply is paid twice when the run is resumed.

    Raises:
        ConfigError: something asked for does not exist.
        RunFolderError: the folder cannot be used, or holds a run with another fingerprint.
        ApparatusError: the run stopped (BudgetExceededError: its budget is spent); what was played is in the
            folder, and `resume` goes on.
    """
    env = make_meta_env(manifest.env_id, manifest.env_options, num_steps=manifest.num_steps)
    try:
        meta_env = env.unwrapped
        if not isinstance(meta_env, MetaEnv):
            raise ConfigError(f"{manifest.env_id} is no meta-environment.")
        reflector = make_reflector(manifest.reflector, demo=meta_env.make_demo_reflector)
        arm = describe(reflector)
        if resume:
            run = RunFolder.open(path, writing=True)
            run.check_fingerprints(meta_env.fingerprint, arm)
        else:
            scripted = getattr(meta_env.actor, "scripted", False) or getattr(reflector, "scripted", False)
            update = {"measurement": meta_env.fingerprint, "arm": arm, "scripted": scripted}
            run = RunFolder.create(path, manifest.model_copy(update=update))
        with contextlib.ExitStack() as stack:
            stack.enter_context(run)
            calls = CallLog(run.path / "calls.jsonl")
            stack.callback(calls.close)
            meta_env.ledger.load(calls.read())
            meta_env.ledger.on_attempt = calls.write
            if budget is not None:
                meta_env.ledger.budget = budget
            if cassette is None:
                cassette = Cassette(run.path / "replies.sqlite")
                stack.callback(cassette.close)
            stack.enter_context(cassette.open())
            meta_env.record_to(run)
            if on_episode is not None:
                meta_env.on_episode = lambda trajectory: on_episode()
            return optimize(
                cast("gymnasium.Env[Any, str]", env),
                reflector,
                manifest.num_steps,
                seed=manifest.seed,
                first_prompt=manifest.first_prompt,
                log=run,
                on_meta_step=on_meta_step,
            )
    finally:
        env.close()


_PACKAGE_OF = {"MiniHack": "minihack"}


def missing_package(env_id: str) -> str | None:
    """Return the extra that has to be installed before the id can be made; None where nothing is missing."""
    package = _PACKAGE_OF.get(gymnasium.spec(env_id).name)
    return package if package is not None and importlib.util.find_spec(package) is None else None
