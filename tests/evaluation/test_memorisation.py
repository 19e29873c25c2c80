"""Text of the learning tasks is found in a prompt, and the language of the environment is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from metagym.evaluation import EvaluationConfig, evaluate, memorisation
from metagym.evaluation.controls import ChangedExperience, take_away
from metagym.evaluation.memorisation import WithoutCopies, copied
from metagym.reflectors import reflect
from metagym.types import MetaStep, Reflection
from tests.conftest import MakeGates, make_step, make_trajectory


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


class Plain:
    def reflect(self, history: Sequence[MetaStep]) -> str:
        return "Look on shelves."


class AsyncText:
    async def reflect(self, history: Sequence[MetaStep]) -> str:
        return "Look on shelves."


@pytest.mark.parametrize("reflector", [Plain(), AsyncText()])
def test_a_wrapped_reflector_may_be_plain_or_write_a_text(reflector: Any) -> None:
    learned = make_trajectory([make_step("The mug stands on shelf 3.")])
    history = [MetaStep(index=0, prompt="Look around.", trajectories=(learned,), reward=0.0)]
    for wrapped in (WithoutCopies(reflector), ChangedExperience(reflector, take_away, name="empty experience")):
        assert reflect(wrapped, history).prompt == "Look on shelves."


def test_a_prompt_that_copies_is_refused_and_an_honest_one_is_not() -> None:
    learned = make_trajectory([make_step("The mug stands on shelf 3.")])
    history = [MetaStep(index=0, prompt="Look around.", trajectories=(learned,), reward=0.0)]
    refused = reflect(WithoutCopies(lambda history: "Look on shelf 3."), history)
    assert refused.prompt == "Look around."
    assert refused.problem == "The prompt copies from the episodes: 'shelf 3'. The old prompt was kept."
    assert reflect(WithoutCopies(lambda history: "Look on shelves."), history).prompt == "Look on shelves."


def test_a_refused_reflection_leaves_the_memory_as_it_was() -> None:
    learned = make_trajectory([make_step("The mug stands on shelf 3.")])
    first = MetaStep(index=0, prompt="Look around.", trajectories=(learned,), reward=0.0)
    written = WithoutCopies(lambda history: Reflection(prompt="Look on shelf 3.", memory=["shelf 3"]))
    assert reflect(written, [first]).memory is None
    kept = Reflection(prompt="Look well.", memory=["well"])
    second = MetaStep(index=1, prompt="Look well.", trajectories=(learned,), reward=0.0, reflection=kept)
    refused = reflect(written, [first, second])
    assert (refused.prompt, refused.memory) == ("Look well.", ["well"])


def test_the_texts_of_a_meta_step_are_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[int] = []
    found = memorisation._parts_of
    monkeypatch.setattr(memorisation, "_parts_of", lambda item: searched.append(item.index) or found(item))
    learned = make_trajectory([make_step("The mug stands on shelf 3.")])
    honest = WithoutCopies(lambda history: "Look on shelves.")
    history: list[MetaStep] = []
    for index in range(4):
        history.append(MetaStep(index=index, prompt="Look around.", trajectories=(learned,), reward=0.0))
        reflect(honest, history)
    assert searched == [0, 1, 2, 3]


def repeat_a_text(history: Sequence[MetaStep]) -> str:
    return history[-1].trajectories[0].steps[0].observation.text


def test_a_text_of_two_seeds_is_the_language_of_the_family_for_each_seed(make_gates: MakeGates) -> None:
    config = EvaluationConfig(families=("law-0007",), num_steps=2, num_seeds=3, num_validation=2, num_test=2)
    report = evaluate(make_gates(), repeat_a_text, config=config)
    assert [(item.seed, item.names, item.sentences) for item in report.copies] == [(seed, (), ()) for seed in range(3)]
    assert not any("last prompts hold" in note for note in report.notes)


def test_a_report_counts_the_prompts_that_copy(make_gates: MakeGates) -> None:
    config = EvaluationConfig(families=("law-0007",), num_steps=2, num_seeds=1, num_validation=2, num_test=2)
    parrot = evaluate(make_gates(), repeat_a_text, config=config)
    assert [bool(item.names or item.sentences) for item in parrot.copies] == [True]
    assert any(note.startswith("1 of 1 last prompts hold names or sentences of the episodes") for note in parrot.notes)
    silent = evaluate(make_gates(), lambda history: "Walk on.", config=config)
    assert not any("last prompts hold" in note for note in silent.notes)
