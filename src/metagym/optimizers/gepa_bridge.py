"""The adapter between the `gepa` package and a meta-environment: its evaluator, its reflection model, its observer."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from metagym import background
from metagym.budget import BudgetUse, Ledger
from metagym.env import MetaEnv
from metagym.errors import EpisodesFailedError
from metagym.models import Call, ChatModel, ask
from metagym.optimizers.loop import OptimizationResult, result_of
from metagym.rendering import render_outcome, render_trajectory
from metagym.types import Message, MetaStep, Trajectory, derive_seed

logger = logging.getLogger(__name__)
COMPONENT: Final = "prompt"
"""What GEPA calls the text that it evolves."""


class GepaRun:
    """One run of GEPA: its adapter, its reflection model and its observer, so that all know of each other."""

    propose_new_texts = None  # GEPA's own wording of the reflection

    def __init__(self, env: MetaEnv, model: ChatModel, ledger: Ledger, first_prompt: str, max_tokens: int) -> None:
        self.env, self.model, self.ledger, self._max_tokens = env, model, ledger, max_tokens
        self.seed = int(env.np_random.integers(2**31))
        self.stopped = ""
        self.history: list[MetaStep] = []
        self.outlays: list[BudgetUse] = [ledger.used]
        self._first_prompt = first_prompt
        self._played: MetaStep | None = None
        self._num_calls = 0

    def evaluate(self, batch: list[str], candidate: dict[str, str], capture_traces: bool = False) -> Any:
        """Play the tasks under the candidate: one episode each, booked once, as learning."""
        from gepa import EvaluationBatch

        prompt = candidate[COMPONENT]
        if self.env.action_space.contains(prompt) and prompt.strip():
            with _stopping():
                (self._played,) = self.env.replay([prompt], batch)
        else:  # what is no prompt is not played, and earns nothing
            self._played = None
            return EvaluationBatch([None] * len(batch), [0.0] * len(batch), [None] * len(batch), num_metric_calls=0)
        if self._played.num_failed:
            failed = next(item.error for item in self._played.trajectories if item.score is None)
            told = f"{self._played.num_failed} of GEPA's {len(batch)} episodes failed. The first failure: {failed}"
            raise StoppedError(EpisodesFailedError(f"{told} The same command goes on.", self._played))
        trajectories = list(self._played.trajectories)
        return EvaluationBatch(trajectories, [item.score or 0.0 for item in trajectories], trajectories)

    def make_reflective_dataset(
        self, candidate: dict[str, str], eval_batch: Any, components_to_update: list[str]
    ) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """Return each episode as text, with its outcome as the feedback."""
        share = self._max_tokens // max(1, len(eval_batch.trajectories))
        return {COMPONENT: [_example(item, share) for item in eval_batch.trajectories if item is not None]}

    def reflect(self, prompt: str | list[dict[str, Any]]) -> str:
        """Ask the model, as GEPA words it."""
        messages: list[Message] = (
            [{"role": "user", "content": prompt}]
            if isinstance(prompt, str)
            else [{"role": item["role"], "content": str(item["content"])} for item in prompt]
        )
        seed = derive_seed("gepa", self.seed, self._num_calls)
        call = Call("reflector", self.env.config.arm, self._num_calls, seed)
        self._num_calls += 1
        with _stopping():
            completion = background.run(ask(self.model, messages, call))
        return "" if completion.finish_reason == "length" else completion.text

    def on_valset_evaluated(self, event: Mapping[str, Any]) -> None:
        """Keep each candidate that is the best so far on the Pareto set."""
        reward = float(event["average_score"])
        best = self.history[-1].reward if self.history else None
        if self._played is not None and (best is None or reward > best):
            if self.history:  # the first prompt was known from the start
                self.outlays.append(self.ledger.used)
            self.history.append(self._played.model_copy(update={"index": len(self.history), "reward": reward}))

    def is_stopped(self, num_episodes: int) -> bool:
        """Whether the episodes left do not cover another iteration."""
        left = (self.ledger.budget.episodes or 0) - self.ledger.used.episodes
        if left < num_episodes:
            self.stopped = f"The budget leaves {left:,} episodes, and the next iteration may take {num_episodes:,}"
        return left < num_episodes

    def result(self) -> OptimizationResult:
        """Return what was found so far."""
        if not self.history:
            prompt, outlays = self._first_prompt, self.outlays
        else:
            prompt, outlays = self.history[-1].prompt, [*self.outlays, self.ledger.used]
        return result_of(self.history, prompt, last_reflection=None, outlays=outlays, stopped=self.stopped)


def _example(trajectory: Trajectory, max_tokens: int) -> dict[str, str]:
    return {
        "Episode": render_trajectory(trajectory, show_outcome=False, show_thoughts=True, max_tokens=max_tokens),
        "Feedback": f"{render_outcome(trajectory)} Score: {trajectory.score:g}",
    }


class StoppedError(BaseException):
    """Carries an error through the package, which else swallows those of a reflection and goes on."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


@contextlib.contextmanager
def _stopping() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise StoppedError(error) from error


class Quiet:
    """The package's log, told to ours."""

    def log(self, message: str) -> None:
        """Log a line for those who look for it."""
        logger.debug("gepa: %s", message)
