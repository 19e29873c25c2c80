"""The protocol of an evaluation, as data: the episodes, their number, and the figure that decides."""

from __future__ import annotations

import math
from typing import Final

from pydantic import Field, model_validator

from metagym.budget import Budget
from metagym.errors import ConfigError
from metagym.types import Record, Text, Texts

PRIMARY_ENDPOINT: Final = (
    "test score of the prompt chosen on validation, minus test score of sp_0 on the same tasks, averaged over families "
    "of equal weight; one number per seed"
)


class EvaluationConfig(Record):
    """The play of one evaluation. For each seed and family one meta-episode, all with the same fixed task lists."""

    families: Texts = ()
    """Families (or groups of them) that are evaluated; `()` means those that the environment was made with."""
    num_steps: int = Field(default=10, ge=1)
    """N: meta-steps, and reflections, of a meta-episode. It gives N + 1 prompts, `sp_0` to `sp_N`."""
    episodes_per_step: int = Field(default=5, ge=1)
    """k: fresh tasks in a meta-step."""
    num_seeds: int = Field(default=10, ge=1)
    """S: meta-episodes of a family. The replicates."""
    first_seed: int = Field(default=0, ge=0)
    """The seeds are `first_seed` to `first_seed + num_seeds - 1`."""
    num_validation: int = Field(default=25, ge=0)
    """Tasks of a family that choose the prompt: the same for all prompts, seeds and arms. With 0 nothing is chosen:
    the last prompt is tested beside `sp_0`, and there is no curve of validation scores."""
    num_test: int = Field(default=50, ge=1)
    """Tasks of a family that choose nothing: the same for all seeds and arms."""
    test_repetitions: int = Field(default=1, ge=1)
    """Episodes of a prompt on each test task. From two on, the chance of the actor's sampling is known apart."""
    task_seed: int = 0
    """Draws the validation and the test tasks."""
    first_prompt: Text | None = None
    """`sp_0`; by default the environment's own."""
    replay: bool = True
    """Whether each batch is played again under the prompt that was written after it (k episodes a reflection)."""
    retries: int = Field(default=1, ge=0)
    """How often an episode that failed for infrastructure reasons is retried before its pair is dropped."""
    score_range: tuple[float, float] = (0.0, 1.0)
    """The least and the greatest score, for the bounds over missing episodes."""
    learning_budget: Budget | None = None
    """The limits of each meta-episode while it learns, the method's own replays and gates included; None: the episodes
    of the meta-steps. With it each meta-episode is played by itself, and nothing is replayed to be measured."""
    primary_endpoint: Text = PRIMARY_ENDPOINT
    """The number that decides; it is written into the manifest before the first episode."""

    @model_validator(mode="after")
    def _check(self) -> EvaluationConfig:
        least, greatest = self.score_range
        if not -math.inf < least < greatest < math.inf:  # nor NaN
            raise ConfigError(
                f"Expected score_range=(least, greatest), two finite numbers, got {self.score_range}. Name the least "
                "and the greatest score that an episode can have."
            )
        return self

    def check_stream(self) -> None:
        """Raise ConfigError if a field is set that a stream has no use for."""
        if self.test_repetitions != 1 or self.learning_budget is not None:
            raise ConfigError(
                "Expected a stream without test_repetitions and learning_budget, got "
                f"test_repetitions={self.test_repetitions} and learning_budget={self.learning_budget!r}. Leave them "
                "out (a stream plays each test task once after each block), or use the protocol ict."
            )

    @property
    def num_tested(self) -> int:
        """The prompts of a meta-episode that are tested: `sp_0`, the last one, and the chosen one if one is chosen."""
        return 3 if self.num_validation else 2

    @property
    def seeds(self) -> range:
        """The seeds of the meta-episodes."""
        return range(self.first_seed, self.first_seed + self.num_seeds)
