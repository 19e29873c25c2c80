"""Exemplars keep successful episodes by how useful they were."""

from __future__ import annotations

import asyncio

import pytest

from metagym import ChatActor
from metagym.actor import retrieve_items
from metagym.errors import ConfigError
from metagym.reflectors.exemplars import Exemplars, usefulness
from metagym.reflectors.prompt_document import MEMORY_HEADING, as_item
from metagym.testing import FakeChatModel
from metagym.types import Observation, Trajectory
from tests.conftest import make_episode, make_meta_step, make_step, make_trajectory
from tests.reflectors.batches import lost, reflect_on, won


def test_only_successful_episodes_are_kept() -> None:
    batch = [
        won("a door"),
        lost("a wall"),
        won("a gap", score=None, success=None),
        won("a hole", success=None, score=0.5),
    ]
    (reflection,) = reflect_on(Exemplars(), batch)
    assert "a door" in reflection.prompt
    assert not [text for text in ("a wall", "a gap", "a hole") if text in reflection.prompt]
    assert reflection.completion is None


def test_the_least_useful_example_is_removed() -> None:
    first = reflect_on(Exemplars(max_exemplars=2), [won("door one"), won("door two")])[0]
    one, two = (entry["text"] for entry in first.memory["exemplars"])

    def reader(text: str, success: bool) -> Trajectory:
        step = make_step("reading")
        step = step.model_copy(update={"action": step.action.model_copy(update={"prompt_read": as_item(text)})})
        return make_trajectory([step], success=success, score=float(success))

    history = [
        make_meta_step([won("door one"), won("door two")], index=0),
        make_meta_step([reader(one, False), reader(two, True)], index=1, prompt=first.prompt, reflection=first),
    ]
    second = asyncio.run(Exemplars(max_exemplars=2).reflect(history))
    kept = second.memory["exemplars"]
    assert kept[0]["text"] == two
    assert (kept[0]["num_read"], kept[0]["num_won"]) == (1, 1)
    assert "door one" not in second.prompt


def test_usefulness_is_closer_to_one_half_the_fewer_episodes_read_the_exemplar() -> None:
    shares = [usefulness({"num_read": num_read, "num_won": 0}) for num_read in (0, 2, 8)]
    assert shares == [0.5, 0.25, 0.1]


def test_an_actor_reads_the_exemplar_of_its_task() -> None:
    (reflection,) = reflect_on(Exemplars(), [won("An oak gate."), won("An iron gate."), won("A glass gate.")])
    model = FakeChatModel(["Action: open"])
    actor = ChatActor(model, read_prompt=retrieve_items(1, below=MEMORY_HEADING))
    action = asyncio.run(actor.act(make_episode(reflection.prompt), (), Observation(text="You see an iron gate.")))
    assert action.prompt_read is not None
    assert "An iron gate." in action.prompt_read
    assert "oak" not in model.calls[0][0][0]["content"]


def test_an_option_below_its_least_value_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"max_exemplars must be at least 1, got 0"):
        Exemplars(max_exemplars=0)
