"""The records: frozen, strict, and equal after they were written as JSON and read back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from metagym.types import (
    SCHEMA_VERSION,
    Action,
    Completion,
    MetaStep,
    Observation,
    Reflection,
    Step,
    StopReason,
    Trajectory,
    Usage,
    clean_text,
)
from tests.conftest import make_episode, make_meta_step, make_step, make_task, make_trajectory, reply

any_text = st.text(st.characters(codec=None, exclude_categories=[]), max_size=30)  # lone surrogates too


@given(any_text)
def test_a_clean_text_can_be_encoded(text: str) -> None:
    clean_text(text).encode()


@given(st.text(max_size=30))
def test_clean_text_keeps_text_that_can_be_encoded(text: str) -> None:
    assert clean_text(text) == text


def test_a_lone_surrogate_becomes_the_replacement_character() -> None:
    assert clean_text("a\ud800b") == "a\ufffdb"


@given(any_text, any_text, st.lists(any_text, max_size=3), st.floats(-5, 5))
def test_a_trajectory_of_any_text_comes_back_equal_from_json(
    text: str, thought: str, available: list[str], reward: float
) -> None:
    step = Step(
        observation=Observation(text=text, goal=thought, available_actions=tuple(available), feedback=text),
        action=Action(text=text, thought=thought, problem=text, completion=reply(text, reasoning=thought)),
        command=None,
        is_valid=False,
        reward=reward,
    )
    trajectory = make_trajectory([step], stop_detail=text, error=thought, episode=make_episode(text))
    assert Trajectory.model_validate_json(trajectory.model_dump_json()) == trajectory


def test_a_step_of_any_command_comes_back_equal_from_json() -> None:
    fields = {**dict(make_step()), "action": Action(text="go \ud800"), "command": "go \ud800", "events": ("\ud800",)}
    step = Step(**fields)
    assert Step.model_validate_json(step.model_dump_json()) == step


def test_a_meta_step_comes_back_equal_from_json() -> None:
    meta_step = make_meta_step(
        [make_trajectory([make_step()]), make_trajectory(score=None, success=None, final_observation=None)],
        reflection=Reflection(prompt="Next.", memory={"notes": [1, None, {"a": "é"}]}),
    )
    assert MetaStep.model_validate_json(meta_step.model_dump_json()) == meta_step


@pytest.mark.parametrize("record", [make_task(), make_episode(), make_step(), make_trajectory(), make_meta_step()])
def test_records_are_frozen(record: Any) -> None:
    name = next(iter(type(record).model_fields))
    with pytest.raises(ValidationError, match=r"frozen"):
        setattr(record, name, None)


def test_records_refuse_unknown_fields() -> None:
    with pytest.raises(ValidationError, match=r"Extra inputs"):
        make_task(colour="red")


@pytest.mark.parametrize("record", [make_trajectory(), make_meta_step()])
def test_stored_records_carry_the_schema_version(record: Any) -> None:
    assert record.model_dump()["schema_version"] == SCHEMA_VERSION


def test_a_record_of_a_newer_schema_is_refused() -> None:
    newer = {**make_trajectory().model_dump(mode="json"), "schema_version": SCHEMA_VERSION + 1}
    with pytest.raises(ValidationError, match=r"schema_version"):
        Trajectory.model_validate(newer)


def test_there_are_six_reasons_to_stop() -> None:
    assert {reason.value for reason in StopReason} == {
        "terminated",
        "truncated",
        "step limit",
        "content filter",
        "context overflow",
        "error",
    }


def test_usage_adds_up_field_by_field() -> None:
    one = Usage(prompt_tokens=1, cached_tokens=2, completion_tokens=3, num_calls=4)
    two = Usage(prompt_tokens=10, cached_tokens=20, completion_tokens=30, num_calls=40)
    assert one + two == Usage(prompt_tokens=11, cached_tokens=22, completion_tokens=33, num_calls=44)


def test_the_return_is_the_sum_of_the_rewards() -> None:
    assert make_trajectory([make_step(reward=0.25), make_step(reward=0.5)]).episode_return == 0.75


def test_num_invalid_counts_the_invalid_steps() -> None:
    assert make_trajectory([make_step(), make_step(action=None), make_step(action=None)]).num_invalid == 2


def test_a_meta_step_counts_its_failed_episodes() -> None:
    meta_step = make_meta_step([make_trajectory(), make_trajectory(score=None)])
    assert (meta_step.num_failed, meta_step.scores) == (1, (1.0, None))


@pytest.mark.parametrize(
    ("by_actor", "by_reflector", "scripted"),
    [(False, False, False), (True, False, True), (False, True, True)],
)
def test_a_meta_step_is_scripted_if_its_actor_or_its_reflector_is(
    by_actor: bool, by_reflector: bool, scripted: bool
) -> None:
    reflection = Reflection(prompt="p", scripted=by_reflector)
    assert make_meta_step([make_trajectory(scripted=by_actor)], reflection=reflection).scripted is scripted


def test_the_key_of_an_episode_is_meta_step_arm_task_and_repetition() -> None:
    episode = make_episode(meta_step=3, arm="a", repetition=2)
    assert episode.key == (3, "a", "law-0000/1", 2)


def test_a_completion_may_hold_token_ids_and_log_probabilities() -> None:
    completion = Completion(text="x", token_ids=(1, 2), logprobs=(-0.5, -1.0))
    assert Completion.model_validate_json(completion.model_dump_json()) == completion


def test_a_trajectory_may_hold_the_actors_revision() -> None:
    assert make_trajectory(actor_revision="step-12").actor_revision == "step-12"


def test_a_memory_equals_what_is_read_back_from_a_file() -> None:
    """A tuple becomes a list and a lone surrogate U+FFFD at once; a value that is not JSON is refused at once."""
    reflection = Reflection(prompt="p", memory={"items": ("a", "\ud800")})
    assert reflection.memory == {"items": ["a", "\ufffd"]}
    assert Reflection.model_validate_json(reflection.model_dump_json()) == reflection
    with pytest.raises(ValidationError, match="expected JSON, got a set in it"):
        Reflection(prompt="p", memory={"items": {1, 2}})
