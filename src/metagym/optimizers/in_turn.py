"""Play, reflect, play under the new prompt, until the meta-steps or the budget are at their end.

What happens at the end of a budget is the same for every loop here. A batch, or a replay, that the budget's
episodes do not cover is not begun. Tokens, calls and money may give out within a batch or a reflection; it is then
left unfinished, and counts as taken. Either way the loop ends with the last prompt that was written
within the budget, played or not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from metagym.budget import Budget, Outlay
from metagym.env import MetaEnv
from metagym.errors import BudgetExceededError, InfrastructureError
from metagym.optimizers.loop import OptimizationResult, reflect_all
from metagym.optimizers.protocol import account_on
from metagym.reflectors import ReflectorSpec, as_reflector
from metagym.types import MetaStep, Reflection

Reflect = Callable[[Sequence[MetaStep]], Reflection]


@dataclass(frozen=True)
class InTurn:
    """The plain loop around a reflector, which may replay for itself: every reflection leads to one more prompt.

    >>> import gymnasium, metagym
    >>> from metagym.envs.gates.demo import GatesDemoReflector
    >>> with gymnasium.make("MetaGym/Gates-v0", actor="demo") as env:
    ...     result = InTurn()(env.unwrapped, GatesDemoReflector(), budget=Budget(episodes=12))
    >>> len(result.history), result.stopped, [outlay.episodes for outlay in result.outlays]
    (2, 'The budget of 12 episodes leaves 2, and the next batch takes 5', [0, 5, 10])
    """

    num_steps: int = 10
    """Meta-steps, at most."""

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What decides the course, beside the reflector."""
        return {"kind": "InTurn", "num_steps": self.num_steps}

    def __call__(self, env: MetaEnv, reflector: ReflectorSpec, *, budget: Budget) -> OptimizationResult:
        """Run the loop; see `Optimizer`."""
        policy = as_reflector(reflector)

        def reflect(history: Sequence[MetaStep]) -> Reflection:
            (reflection,) = reflect_all(policy, [history], replays=[env.replay_async])
            return reflection

        return run_in_turn(env, reflect, num_steps=self.num_steps, budget=budget)


def run_in_turn(env: MetaEnv, reflect: Reflect, *, num_steps: int, budget: Budget) -> OptimizationResult:
    """Run at most `num_steps` meta-steps, each followed by `reflect`, within the budget.

    Raises:
        InfrastructureError: a meta-step or a reflection failed; the error's `history` holds what was finished.
    """
    history: list[MetaStep] = []
    reflections: list[Reflection] = []
    stopped = ""
    with account_on(env, budget) as account:
        _, info = env.reset()
        prompts: list[str] = [info["default_prompt"]]
        outlays: list[Outlay] = [account.outlay]
        try:
            for index in range(num_steps):
                trajectories, reward, terminated, truncated, _ = env.step(prompts[-1])
                history.append(
                    MetaStep(
                        index=index,
                        prompt=prompts[-1],
                        trajectories=trajectories,
                        reward=reward,
                        reflection=reflections[-1] if reflections else None,
                    )
                )
                reflections.append(reflect(history))
                prompts.append(env.check_prompt(reflections[-1].prompt))
                outlays.append(account.outlay)
                if (terminated or truncated) and index < num_steps - 1:
                    stopped = "The success threshold was reached" if terminated else "No further tasks are left"
                    break
        except BudgetExceededError as error:
            error.history = tuple(history)
            if error.ledger is not account:
                raise
            stopped = str(error).partition(". ")[0]
        except InfrastructureError as error:
            error.history = tuple(history)
            raise
        last_reflection = reflections[-1] if reflections else None
        if len(prompts) == len(history):  # the reflection on the last batch was not finished
            prompts.append(prompts[-1])
            outlays.append(account.outlay)
            last_reflection = None
    return result_of(history, prompts, outlays, last_reflection, stopped)


def result_of(
    history: Sequence[MetaStep],
    prompts: Sequence[str],
    outlays: Sequence[Outlay],
    last_reflection: Reflection | None,
    stopped: str,
) -> OptimizationResult:
    """Return the result; `prompts` are those of the history, and the one that is handed over."""
    rewards = [float("-inf") if item.reward is None else item.reward for item in history]
    best = max(range(len(history)), key=rewards.__getitem__, default=None)
    return OptimizationResult(
        best_prompt=prompts[0] if best is None else history[best].prompt,
        best_reward=float("-inf") if best is None else rewards[best],
        last_prompt=prompts[-1],
        history=tuple(history),
        last_reflection=last_reflection,
        outlays=tuple(outlays),
        stopped=stopped,
    )
