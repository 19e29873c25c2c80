"""Best of n: any reflector writes n candidates, and the one that does best on the last batch, replayed, is used.

A candidate's score is its mean on the very batch that was reflected upon, as in the training of a reflector
(Shalev, Ding, Jamnik 2026, arXiv 2605.20477): it selects on tasks that were seen, and says nothing about fresh tasks.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from metagym.budget import Budget
from metagym.env import MetaEnv
from metagym.errors import ConfigError
from metagym.optimizers.meta_loop import OptimizationResult, method_ledger, run_loop
from metagym.reflectors import ReflectorSpec, as_reflector, reflect_samples
from metagym.reflectors.protocol import check_replayed
from metagym.reflectors.task_reads import TaskWatch
from metagym.types import MetaStep, Reflection

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BestOfN:
    """The loop around a reflector that is asked n times; its replays are learning, and count as that.

    Candidates differ by the seeds of the reflector's calls alone. Equal candidates are played once. If all are
    equal (a reflector without a model, or at temperature 0), nothing is replayed, and the analysis says so.

    >>> import gymnasium, metagym
    >>> with gymnasium.make("MetaGym/Gates-v0", actor="demo") as env:
    ...     result = BestOfN(n=3, num_steps=2)(env.unwrapped, lambda history: "Walk.", budget=Budget())
    >>> result.last_reflection.analysis
    'All 3 candidates are equal.'
    """

    needs_chance: ClassVar[str] = "reflector"

    n: int = 4
    """Candidates a meta-step."""
    num_steps: int = 10
    """Meta-steps, at most."""

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ConfigError(f"n must be at least 1 candidate, got {self.n}.")

    @property
    def fingerprint(self) -> dict[str, Any]:
        """The settings that decide the course, beside the reflector."""
        return {"kind": "BestOfN", "n": self.n, "num_steps": self.num_steps}

    def __call__(self, env: MetaEnv, reflector: ReflectorSpec, *, budget: Budget) -> OptimizationResult:
        """Run the loop; see `Optimizer`."""
        policy = as_reflector(reflector)
        watch = TaskWatch(policy)

        def reflect_once(history: Sequence[MetaStep]) -> Reflection:
            candidates, read = watch(
                history, env.replay_async, lambda seen, replay: reflect_samples(policy, seen, self.n, replay=replay)
            )
            chosen = select_candidate(env, candidates, history[-1])
            return chosen.model_copy(update={"task_reads": read}) if read else chosen

        with method_ledger(env, budget) as ledger:
            return run_loop(env, reflect_once, num_steps=self.num_steps, ledger=ledger)


def select_candidate(env: MetaEnv, candidates: Sequence[Reflection], last: MetaStep) -> Reflection:
    """Return the candidate that does best on the tasks of the meta-step `last`, replayed; the earliest of equals."""
    by_prompt: dict[str, Reflection] = {}
    for item in candidates:
        by_prompt.setdefault(item.prompt, item)
    distinct = list(by_prompt.values())
    if len(distinct) == 1:
        logger.info("All %d candidates are equal: best of n adds nothing to this reflector.", len(candidates))
        return _with_note(distinct[0], f"All {len(candidates)} candidates are equal.")
    played = env.replay([item.prompt for item in distinct], [item.task.id for item in last.trajectories])
    check_replayed(played)
    scores = [meta_step.reward or 0.0 for meta_step in played]
    best = max(range(len(distinct)), key=scores.__getitem__)
    listed = ", ".join(f"{score:.2f}" for score in scores)
    which = f"Candidate {best + 1} of {len(distinct)} different ones"
    return _with_note(distinct[best], f"{which}, by their scores on the last batch replayed ({listed}).")


def _with_note(reflection: Reflection, note: str) -> Reflection:
    return reflection.model_copy(update={"analysis": f"{reflection.analysis}\n\n{note}".strip()})
