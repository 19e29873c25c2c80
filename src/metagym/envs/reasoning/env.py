"""The inner environment over reasoning-gym: one question, one reply, scored by the generator's own scorer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, ClassVar, Final, NamedTuple

import gymnasium

from metagym.errors import ConfigError, InnerEnvError, UnknownNameError, check_started, in_words
from metagym.imports import require
from metagym.spaces import TextSpace
from metagym.tasks import SeededTaskSet
from metagym.tasks.seeds import asked_task, named_families

DEFAULT_FAMILIES = (
    "base_conversion",
    "basic_arithmetic",
    "calendar_arithmetic",
    "gcd",
    "leg_counting",
    "letter_counting",
    "number_sorting",
    "spell_backward",
)
LEFT_OUT: Final = {
    **dict.fromkeys(
        (
            "list_functions",
            "isomorphic_strings",
            "knight_swap",
            "polynomial_multiplication",
            "ransom_note",
            "word_ladder",
        ),
        "equal seeds do not give equal questions and answers in another process",
    ),
    "bf": "it prints",
    "number_sequence": "for some seeds it searches for 40 seconds and longer",
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


@cache
def highest_level(family: str) -> int:
    """Return the highest level of the family's curriculum that reasoning-gym accepts; 0 if it has no curriculum."""
    factory = require("reasoning_gym.factory", extra="reasoning")
    if family not in factory.CURRICULA:
        return 0
    num_levels = max(len(attribute.levels) for attribute in factory.create_curriculum(family).attributes.values())
    for level in range(1, num_levels):
        config = _curriculum_config(family, 0, level)
        try:
            getattr(config, "validate", lambda: None)()
        except (AssertionError, ValueError):
            return level - 1
    return num_levels - 1


def check_level(families: Iterable[str], level: object) -> int:
    """Return `level` if each of the families has it; else raise ConfigError."""
    if isinstance(level, bool) or not isinstance(level, int) or level < 0:
        raise ConfigError(
            f"level must be 0 (the defaults of a generator) or 1 and more (its curriculum), got {level!r}."
        )
    for family in families if level else ():
        if level > (highest := highest_level(family)):
            known = (
                f"a level from 0 to {highest} for {family}" if highest else f"level=0 for {family}: it has no others"
            )
            raise ConfigError(f"Expected {known}. Got level={level}. Choose another level, or leave out the family.")
    return level


def make_question(family: str, seed: int, level: int) -> ReasoningQuestion:
    """Make the question of a family and a seed; see `ReasoningEnv` for `level`."""
    if family not in generators():
        why = f" {family} is left out: {LEFT_OUT[family]}." if family in LEFT_OUT else ""
        raise UnknownNameError.of("family", family, generators(), remedy=why)
    check_level([family], level)
    factory = require("reasoning_gym.factory", extra="reasoning")
    try:
        if level:
            dataset = factory.DATASETS[family][0](_curriculum_config(family, seed, level))
        else:
            dataset = factory.create_dataset(family, size=1, seed=seed)
        entry = dataset[0]
    except Exception as error:
        raise InnerEnvError(
            f"Expected reasoning-gym to make the question {family}/{seed} at level {level}, got {in_words(error)}. "
            "Choose another level, or leave out the family."
        ) from error
    return ReasoningQuestion(str(entry["question"]).strip(), str(entry["answer"]), dataset, entry)


def _curriculum_config(family: str, seed: int, level: int) -> Any:
    curriculum = require("reasoning_gym.factory", extra="reasoning").create_curriculum(family)
    curriculum.set_global_level(level)
    return curriculum.generate_configuration({"size": 1, "seed": seed})


class ReasoningTaskSet(SeededTaskSet):
    """The questions of reasoning-gym. The text of a question decides its role."""

    def __init__(self, level: int = 0) -> None:
        super().__init__(generators(), lambda family, seed: make_question(family, seed, level).text)


class ReasoningEnv(gymnasium.Env[str, str]):
    """One question; the action is the reply. The text after it says an accepted answer, for the reflector.

    `reset(options={"task_id": "gcd/7"})` asks the question of a family and a seed. At level 0 a generator has its own
    defaults. A level from 1 on is that of its curriculum in reasoning-gym; level 1 may be easier than level 0. The
    reward is the scorer's, from 0 to 1.

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
        self._families = named_families(families, generators(), {})
        self._level = check_level(self._families, level)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Ask the question `options["task_id"]` (`family/seed`); without an id, draw one."""
        super().reset(seed=seed)
        family, number = asked_task(options, self.np_random, self._families)
        self._question = make_question(family, number, self._level)
        return self._question.text, {"success": False, "progress": 0.0}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Score the reply."""
        check_started(self, "_question")
        score = self._question.score(action)
        info = {"success": score == 1.0, "progress": score, "outcome": f"scored {score:.3g}"}
        return f"The answer is: {self._question.answer}", score, True, False, info
