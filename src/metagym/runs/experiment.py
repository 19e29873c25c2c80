"""One experiment: a meta-environment, a reflector and a seed, run into a run folder, and resumed from it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from metagym.budget import Budget
from metagym.env import MetaEnv
from metagym.errors import ConfigError
from metagym.extensions import extension_of
from metagym.models import Cassette
from metagym.optimizers.loop import OptimizationResult, optimize
from metagym.reflectors import make_reflector
from metagym.registration import make
from metagym.runs import CallLog, Manifest, RunFolder
from metagym.seeding import describe
from metagym.types import MetaStep


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
        InfrastructureError: the run stopped (BudgetExceededError: its budget is spent); what was played is in the
            folder, and `resume` goes on.
    """
    env = make(manifest.env_id, num_steps=manifest.num_steps, **manifest.env_options)
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
            scripted = extension_of(meta_env.actor).scripted or extension_of(reflector).scripted
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
                env,
                reflector,
                manifest.num_steps,
                seed=manifest.seed,
                first_prompt=manifest.first_prompt,
                log=run,
                on_meta_step=on_meta_step,
            )
    finally:
        env.close()
