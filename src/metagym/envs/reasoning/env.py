"""The inner environment over reasoning-gym: one question, one reply, scored by the generator's own scorer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar, Final, NamedTuple

import gymnasium

from metagym.errors import ConfigError, UnknownNameError
from metagym.imports import require
from metagym.spaces import TextSpace
from metagym.tasks import SeededTaskSet
from metagym.tasks.seeds import asked_task, named_families

DEFAULT_FAMILIES = (
    "basic_arithmetic",
    "calendar_arithmetic",
    "gcd",
    "leg_counting",
    "letter_counting",
    "number_sequence",
    "number_sorting",
    "spell_backward",
)
LEFT_OUT: Final = {
    **dict.fromkeys(
        ("list_functions", "isomorphic_strings", "polynomial_multiplication", "ransom_note", "word_ladder"),
        "equal seeds do not give equal questions in another process",
    ),
    "bf": "it prints",
    **dict.fromkeys(
        (
            "countdown",
            "intermediate_integration",
            "puzzle24",
            "simple_integration",
            "spiral_matrix",
            "string_insertion",
        ),
        "its scorer executes the reply as code",
    ),
    "coin_flip": "its scorer calls '0' right in nine of ten questions",
    "complex_arithmetic": "its scorer calls 'nan' right",
    "game_of_life_halting": "its scorer calls any text right",
    "family_relationships": "for in-laws, nieces and nephews its answer names the other of the two persons",
    "composite": "it is a mixture of others, which must be named",
    **dict.fromkeys(
        ("boxnet", "graph_color", "propositional_logic", "rubiks_cube", "rush_hour"),
        "they come without an answer that their scorer calls right",
    ),
    **dict.fromkeys(
        (
            "arc_agi",
            "binary_matrix",
            "futoshiki",
            "kakurasu",
            "manipulate_matrix",
            "mini_sudoku",
            "modulo_grid",
            "n_queens",
            "pool_matrix",
            "rearc",
            "rotate_matrix",
            "sudoku",
            "survo",
            "tower_of_hanoi",
        ),
        "their answers take several lines, and an action is one line",
    ),
}
"""Generators that are no families, and why."""


@cache
def generators() -> tuple[str, ...]:
    """Return the generators that are families, by name."""
    factory = require("reasoning_gym.factory", extra="reasoning")
    return tuple(sorted(factory.DATASETS.keys() - LEFT_OUT.keys()))


class ReasoningQuestion(NamedTuple):
    """A question, its answer, and its scorer."""

    text: str
    answer: str
    dataset: Any
    entry: dict[str, Any]

    def score(self, reply: str) -> float:
        """Return the score of a reply, from 0 to 1; 0 if the scorer fails on it."""
        try:
            score = float(self.dataset.score_answer(reply, self.entry))
        except Exception:  # scorers expect a number or JSON, and a reply may be anything
            return 0.0
        return min(1.0, max(0.0, score)) if math.isfinite(score) else 0.0


def make_question(family: str, seed: int, level: int) -> ReasoningQuestion:
    """Make the question of a family and a seed; `level` raises all its parameters of difficulty."""
    if family not in generators():
        why = f" {family} is left out: {LEFT_OUT[family]}." if family in LEFT_OUT else ""
        raise UnknownNameError.of("family", family, generators(), remedy=why)
    factory = require("reasoning_gym.factory", extra="reasoning")
    if not level:
        dataset = factory.create_dataset(family, size=1, seed=seed)
    elif family not in factory.CURRICULA:
        raise ConfigError(f"Expected level=0 for {family}: it has no parameters of difficulty. Got level={level}.")
    else:
        curriculum = factory.create_curriculum(family)
        curriculum.set_global_level(level)
        config = curriculum.generate_configuration({"size": 1, "seed": seed})
        dataset = factory.DATASETS[family][0](config)
    entry = dataset[0]
    return ReasoningQuestion(str(entry["question"]).strip(), str(entry["answer"]), dataset, entry)


class ReasoningTaskSet(SeededTaskSet):
    """The questions of reasoning-gym. The text of a question decides its role."""

    def __init__(self, level: int = 0) -> None:
        super().__init__(generators(), lambda family, seed: make_question(family, seed, level).text)


class ReasoningEnv(gymnasium.Env[str, str]):
    """One question; the action is the reply. The text after it says an accepted answer, for the reflector.

    `reset(options={"task_id": "gcd/7"})` asks the question of a family and a seed. `level` raises all parameters
    of difficulty that reasoning-gym's curricula have. The reward is the scorer's, from 0 to 1.

    >>> env = ReasoningEnv()
    >>> env.reset(options={"task_id": "basic_arithmetic/1"})[0]
    'Calculate 5 - 3 - 6.'
    >>> env.step("-4")[:2]
    ('The answer is: -4', 1.0)
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": [], "render_fps": 1}  # type: ignore[misc]

    def __init__(self, *, families: Sequence[str] = DEFAULT_FAMILIES, level: int = 0) -> None:
        self.observation_space: TextSpace = TextSpace()
        self.action_space: TextSpace = TextSpace()
        self._families, self._level = named_families(families, generators(), {}), level

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Ask the question `options["task_id"]` (`family/seed`); without an id, draw one."""
        super().reset(seed=seed)
        family, number = asked_task(options, self.np_random, self._families)
        self._question = make_question(family, number, self._level)
        return self._question.text, {"success": False, "progress": 0.0}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Score the reply."""
        score = self._question.score(action)
        info = {"success": score == 1.0, "progress": score, "outcome": f"scored {score:.3g}"}
        return f"The answer is: {self._question.answer}", score, True, False, info
