"""What an optimizer is: it drives a whole meta-episode on an environment, within a budget."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol

from metagym.budget import Account, Budget
from metagym.env import MetaEnv
from metagym.optimizers.loop import OptimizationResult
from metagym.reflectors import ReflectorSpec


class Optimizer(Protocol):
    """Drives a meta-episode with rollouts of its own, and returns the prompt that it ends with.

    It begins by `env.reset()`, plays by `env.step` and `env.replay` (on training tasks only), and takes no more
    than `budget` for all of that, reflections included. It may carry `fingerprint`, a JSON mapping of what
    decides its course.
    """

    def __call__(self, env: MetaEnv, reflector: ReflectorSpec, *, budget: Budget) -> OptimizationResult:
        """Return the result; `last_prompt` is what the method hands over.

        Raises:
            InfrastructureError: the apparatus failed; a spent budget of its own is no failure but the end.
        """
        ...


@contextlib.contextmanager
def account_on(env: MetaEnv, budget: Budget) -> Iterator[Account]:
    """Book all that `env` plays, and every model call inside, on an account of that budget.

    Where the environment's ledger is such an account already, it goes on with that.
    """
    before = env.ledger
    account = before if isinstance(before, Account) and before.budget == budget else Account(budget, within=before)
    env.ledger = account
    try:
        with account.open():
            yield account
    finally:
        env.ledger = before
