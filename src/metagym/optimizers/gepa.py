"""GEPA: reflective prompt evolution by the `gepa` package, with the meta-environment as its evaluator.

Source: Agrawal et al., "GEPA: Reflective Prompt Evolution Can Outperform Reinforcement Learning", arXiv
2507.19457 (2025); the algorithm is the authors' own package (extra `gepa`). Ours is the adapter: the
meta-environment plays the episodes, and the reflector's ChatModel is the reflection model, so that one ledger
books both. The Pareto set is drawn from the training tasks too, because GEPA learns from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from metagym.budget import Budget
from metagym.env import MetaEnv
from metagym.errors import BudgetExceededError, ConfigError
from metagym.extensions import extension_of
from metagym.imports import require
from metagym.models import ChatModel
from metagym.optimizers.gepa_bridge import COMPONENT, GepaRun, Quiet, StoppedError
from metagym.optimizers.loop import OptimizationResult, method_ledger
from metagym.reflectors import ReflectorSpec


@dataclass(frozen=True)
class Gepa:
    """The `gepa` package as an optimizer. It needs a reflector over a chat model, and a budget in episodes.

    An iteration starts only if the episodes left cover it: the parent and the child on a minibatch, and the child
    on the Pareto set. The prompt with the best score on the Pareto set is handed over, the earliest of equals.
    """

    minibatch_size: int = 3
    num_validation: int | None = None
    """Training tasks of the Pareto set; by default a fifth of the budget's episodes, 2 to 50."""
    max_tokens: int = 24_000
    """What the episodes of a minibatch may take in the reflection, shared evenly."""

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What decides the course, beside the reflector's model."""
        return {"kind": "Gepa", **{name: getattr(self, name) for name in self.__dataclass_fields__}}

    def __call__(self, env: MetaEnv, reflector: ReflectorSpec, *, budget: Budget) -> OptimizationResult:
        """Run GEPA; see `Optimizer`.

        Raises:
            MissingExtraError: the package is not installed.
            ConfigError: the reflector has no model, or the budget no limit in episodes.
        """
        gepa = require("gepa", extra="gepa")
        model: ChatModel | None = extension_of(reflector).model
        if model is None or budget.episodes is None:
            raise ConfigError(
                "GEPA needs a reflector over a chat model (its model reflects) and a budget in episodes, got "
                f"{type(reflector).__name__} and {budget.model_dump(exclude_none=True)}."
            )
        num_validation = self.num_validation or int(np.clip(budget.episodes // 5, 2, 50))
        with method_ledger(env, budget) as ledger:
            _, info = env.reset()
            run = GepaRun(env, model, ledger, info["default_prompt"], self.max_tokens)
            # The training tasks of the minibatches and those of the Pareto set are different ones.
            tasks = env.task_set.draw(
                num_validation + 2 * self.minibatch_size,
                rng=env.np_random,
                families=env.families,
                split=env.config.split,
            )
            ids = [task.id for task in tasks]
            whole = 2 * self.minibatch_size + num_validation
            try:
                gepa.optimize(
                    seed_candidate={COMPONENT: info["default_prompt"]},
                    trainset=ids[num_validation:],
                    valset=ids[:num_validation],
                    adapter=run,
                    reflection_lm=run.reflect,
                    reflection_minibatch_size=self.minibatch_size,
                    stop_callbacks=lambda state: run.is_stopped(whole),
                    callbacks=[run],
                    logger=Quiet(),
                    seed=run.seed,
                )
            except StoppedError as stop:
                cause = stop.error
                if not isinstance(cause, BudgetExceededError) or cause.ledger is not ledger:
                    raise cause from None
                run.stopped = str(cause).partition(". ")[0]
            return run.result()
