"""Text of the learning tasks is found in a prompt, and the language of the environment is not."""

from __future__ import annotations

from metagym.evaluation.memorisation import copied
from tests.conftest import make_step, make_trajectory


def test_names_numbers_and_sentences_of_the_learning_tasks_are_found_in_the_prompt() -> None:
    learned = [make_trajectory([make_step("The mug stands on shelf 3 beside the lamp. You see a door.")])]
    others = [make_trajectory([make_step("You see a door.")])]
    prompt = "Be quick. The mug stands on shelf 3 beside the lamp. You see a door. Look in drawer 9."
    found = copied(prompt, learned, others=others, first_prompt="Be quick.")
    assert found.names == ("shelf 3",)
    assert found.sentences == ("the mug stands on shelf 3 beside the lamp",)
    assert 0.2 < found.ngram_share < 0.8


def test_a_lesson_in_new_words_copies_nothing() -> None:
    learned = [make_trajectory([make_step("The mug stands on shelf 3.")])]
    found = copied("Search open places before closed ones, and remember what you saw.", learned)
    assert (found.ngram_share, found.names, found.sentences) == (0.0, (), ())
    assert copied("", learned).ngram_share == 0.0
