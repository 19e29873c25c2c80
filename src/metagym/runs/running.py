"""Run one experiment (an environment, a reflector and a seed) into a run folder, or resume it there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from metagym.budget import Budget
from metagym.env import meta_env_of
from metagym.optimizers.meta_loop import OptimizationResult, optimize
from metagym.optional_attributes import describe, extension_of
from metagym.reflectors import make_reflector
from metagym.registration import make
from metagym.runs import Manifest, RunFolder
from metagym.runs.earlier_use import keeping_model_calls
from metagym.types import MetaStep


def run_experiment(
    manifest: Manifest,
    path: str | Path,
    *,
    resume: bool = False,
    budget: Budget | None = None,
    on_episode: Callable[[], Any] | None = None,
    on_meta_step: Callable[[MetaStep], Any] | None = None,
) -> OptimizationResult:
    """Run the experiment that `manifest` describes in a new folder `path`; with `resume`, continue the one in it.

    `budget` replaces the environment's own budget; the use of earlier runs in the folder counts against it.
    The folder keeps the models' replies, so that no reply is paid for twice; if a cassette is open, it keeps them.

    Raises:
        ConfigError: the manifest names something that does not exist.
        RunFolderError: the folder cannot be used, or holds a run with another fingerprint.
        InfrastructureError: the run stopped (BudgetExceededError: its budget is used up). The folder keeps what
            was played, and `resume` continues from there.
    """
    with contextlib.closing(make(manifest.env_id, num_steps=manifest.num_steps, **manifest.env_options)) as env:
        meta_env = meta_env_of(env)
        reflector = make_reflector(manifest.reflector, demo=meta_env.make_demo_reflector)
        arm = describe(reflector)
        scripted = extension_of(meta_env.actor).scripted or extension_of(reflector).scripted
        update = {"measurement": meta_env.fingerprint, "arm": arm, "scripted": scripted}
        if resume:
            run = RunFolder.open(path, writing=True)
        else:
            run = RunFolder.create(path, manifest.model_copy(update=update))
        with run, contextlib.ExitStack() as stack:
            if resume:
                run.check_fingerprints(meta_env.fingerprint, arm)
            stack.enter_context(keeping_model_calls(run.path, meta_env.ledger))
            if budget is not None:
                meta_env.ledger.budget = budget
            meta_env.record_to(run)
            if on_episode is not None:
                meta_env.on_episode = lambda trajectory: on_episode()
            result = optimize(
                env,
                reflector,
                manifest.num_steps,
                seed=manifest.seed,
                first_prompt=manifest.first_prompt,
                log=run,
                on_meta_step=on_meta_step,
            )
            run.finish()  # also if the tasks ran out before the last meta-step
            return result
