"""ChatActor: the conversation keeps goal and roles, and the part of the prompt that was sent is recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from metagym import ChatActor
from metagym.actor import REPLY_FORMATS, retrieve_items
from metagym.errors import ConfigError
from metagym.testing import FakeChatModel
from metagym.types import Action, Message, Observation, Step
from tests.actor.acting import HERE, WAYS, act
from tests.conftest import make_step, make_task, reply

THE_SAME = "The available actions are the same."
LONG_LIST = tuple(f"go to shelf {number}" for number in range(20))


def spoken(number: int) -> Step:
    step = make_step(f"Room {number}.", f"go {number}", goal="Get out.", available_actions=WAYS)
    action = Action(text=f"go {number}", completion=reply(f"Thought: t{number}\nAction: go {number}"))
    return step.model_copy(update={"action": action})


def with_long_list(step: Step) -> Step:
    observation = step.observation.model_copy(update={"available_actions": LONG_LIST})
    return step.model_copy(update={"observation": observation})


def test_the_first_message_is_the_prompt_and_the_reply_format() -> None:
    messages = ChatActor(FakeChatModel([""])).messages("Be brave.", (), HERE)
    assert messages[0] == {"role": "system", "content": f"Be brave.\n\n{REPLY_FORMATS['react'].instruction(WAYS)}"}
    assert messages[0]["content"].endswith("for example:\nAction: knock")


@pytest.mark.parametrize("options", [{"list_actions": False}, {}])
def test_without_a_list_of_actions_the_format_names_no_example(options: dict[str, Any]) -> None:
    here = HERE if options else HERE.model_copy(update={"available_actions": None})
    messages = ChatActor(FakeChatModel([""]), **options).messages("p", (), here)
    assert messages[0]["content"] == f"p\n\n{REPLY_FORMATS['react'].text}"


def test_the_example_stays_that_of_the_first_turn() -> None:
    """The system message is the same in each turn, so that the server's prefix cache holds."""
    actor, steps = ChatActor(FakeChatModel([""])), [spoken(1), spoken(2)]
    later = HERE.model_copy(update={"available_actions": ("sing",)})
    assert actor.messages("p", steps, later)[0] == actor.messages("p", (), HERE)[0]


def last_parts(messages: Sequence[Message]) -> list[str]:
    return [message["content"].rsplit("\n\n", 1)[1] for message in messages[1::2]]


def test_a_short_list_of_actions_is_repeated_in_each_turn() -> None:
    messages = ChatActor(FakeChatModel([""])).messages("p", [spoken(1), spoken(2)], HERE)
    assert last_parts(messages) == ["Available actions: knock, push"] * 3


@pytest.mark.parametrize(
    ("changed", "shown"),
    [
        ({}, THE_SAME),
        ({"available_actions": ("sing",)}, "Available actions: sing"),
    ],
)
def test_a_long_list_is_left_out_until_it_changes(changed: dict[str, Any], shown: str) -> None:
    steps = [with_long_list(spoken(1)), with_long_list(spoken(2))]
    later = steps[0].observation.model_copy(update=changed)
    messages = ChatActor(FakeChatModel([""])).messages("p", steps, later)
    assert last_parts(messages)[1:] == [THE_SAME, shown]


def test_after_an_action_that_was_not_executed_the_turn_ends_with_list_and_form() -> None:
    """A small model copies what stands near: without them, its own faulty reply."""
    steps = [with_long_list(spoken(1))]
    later = steps[0].observation.model_copy(update={"feedback": "'climb' is not an available action."})
    turn = ChatActor(FakeChatModel([""])).messages("p", steps, later)[-1]["content"]
    assert turn.startswith("Not executed: 'climb' is not an available action.\n\n")
    listed, form = f"Available actions: {', '.join(LONG_LIST)}", REPLY_FORMATS["react"].instruction(LONG_LIST)
    assert turn.endswith(f"\n\n{listed}\n\n{form}")


@pytest.mark.parametrize("options", [{"history_steps": 2}, {"context_tokens": 300}])
def test_after_turns_that_are_left_out_the_list_is_shown_again(options: dict[str, Any]) -> None:
    steps = [with_long_list(spoken(number)) for number in range(12)]
    here = steps[0].observation
    messages = ChatActor(FakeChatModel([""]), **options).messages("p", steps, here)
    if "context_tokens" in options:
        messages = ChatActor(FakeChatModel([""]), **options)._fitted("p", steps, here)
    assert "left out" in messages[1]["content"]
    first, *later = last_parts(messages)
    assert first == f"Available actions: {', '.join(LONG_LIST)}"
    assert set(later) == {THE_SAME}


def test_in_the_form_act_the_action_stands_alone() -> None:
    model = FakeChatModel(["push"])
    actor = ChatActor(model, reply_format="act")
    action = act(actor)
    assert (action.text, action.thought) == ("push", "")
    assert model.calls[0][0][0]["content"].endswith("for example:\nknock")


def test_an_unknown_reply_format_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"Unknown reply_format 'acts': expected one of 'react', 'act'"):
        ChatActor(FakeChatModel([""]), reply_format="acts")


def test_a_turn_shows_the_observation_and_the_available_actions() -> None:
    messages = ChatActor(FakeChatModel([""])).messages("p", (), HERE)
    assert messages[1]["content"] == "Goal: Get out.\n\nYou see a door.\n\nAvailable actions: knock, push"


def test_the_list_of_actions_can_be_left_out() -> None:
    messages = ChatActor(FakeChatModel([""]), list_actions=False).messages("p", (), HERE)
    assert "Available actions" not in str(messages)


def test_feedback_is_shown_to_the_actor() -> None:
    observation = HERE.model_copy(update={"feedback": "'fly' is not an available action."})
    messages = ChatActor(FakeChatModel([""])).messages("p", (), observation)
    content = messages[-1]["content"]
    assert (
        "Not executed: 'fly' is not an available action.\n\nThe last observation still holds:\nYou see a door."
        in content
    )


def test_the_models_own_words_are_sent_back() -> None:
    messages = ChatActor(FakeChatModel([""])).messages("p", [spoken(1)], HERE)
    assert messages[2] == {"role": "assistant", "content": "Thought: t1\nAction: go 1"}


@pytest.mark.parametrize("text", [None, "fly"])
def test_a_reply_that_was_not_executed_is_not_sent_back(text: str | None) -> None:
    step = spoken(1)
    refused = step.model_copy(update={"action": step.action.model_copy(update={"text": text}), "command": None})
    later = step.observation.model_copy(update={"feedback": "This was not executed."})
    messages = ChatActor(FakeChatModel([""])).messages("p", [spoken(0), refused], later)
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[2]["content"] == "Thought: t0\nAction: go 0"
    assert messages[-1]["content"].startswith("Not executed: This was not executed.")


@pytest.mark.parametrize("history_steps", [None, 0, 1, 2, 5, 9])
@pytest.mark.parametrize("num_steps", [0, 1, 5])
def test_fault_6_history_windowing_keeps_the_goal_and_the_order_of_roles(
    history_steps: int | None, num_steps: int
) -> None:
    actor = ChatActor(FakeChatModel([""]), history_steps=history_steps)
    messages = actor.messages("p", [spoken(n) for n in range(num_steps)], HERE)
    kept = num_steps if history_steps is None else min(history_steps, num_steps)
    assert [m["role"] for m in messages] == ["system", *["user", "assistant"] * kept, "user"]
    assert messages[1]["content"].startswith("Goal: Get out.")
    assert sum("Goal: " in m["content"] for m in messages) == 1
    rooms = [f"Room {n}." for n in range(num_steps)][num_steps - kept :]
    assert all(room in message["content"] for room, message in zip(rooms, messages[1::2], strict=False))
    assert ("earlier turns are left out" in messages[1]["content"]) == (kept < num_steps)


def test_fault_10_no_id_family_split_or_seed_is_shown_to_the_actor() -> None:
    model = FakeChatModel(["Action: knock"])
    task = {"id": "canary-id", "family": "canary-family", "split": "canary-split", "seed": 987_654_321}

    act(ChatActor(model), task=make_task(**{**task, "task_id": task.pop("id")}), arm="canary-arm", seed=123_454_321)
    sent = str(model.calls[0][0])
    assert not [word for word in ("canary", "987654321", "123454321") if word in sent]


def test_a_negative_history_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"history_steps must be 0 or more, or None for all, got -1"):
        ChatActor(FakeChatModel([""]), history_steps=-1)


def test_a_call_carries_the_episode_and_a_seed_for_each_turn() -> None:
    model = FakeChatModel(["Action: knock"])
    for num_steps in (0, 1):
        act(ChatActor(model), steps=[spoken(n) for n in range(num_steps)], arm="b", meta_step=4, repetition=2, seed=9)
    calls = [call for _, call in model.calls]
    assert {(call.role, call.arm, call.meta_step, call.repetition) for call in calls} == {("actor", "b", 4, 2)}
    assert calls[0].seed != calls[1].seed


def test_a_calls_seed_depends_on_the_episodes_seed_and_not_on_its_prompt() -> None:
    model = FakeChatModel(["Action: knock"])
    for seed, prompt in ((1, "p"), (1, "q"), (2, "p")):
        act(ChatActor(model), seed=seed, prompt=prompt)
    seeds = [call.seed for _, call in model.calls]
    assert seeds[0] == seeds[1] != seeds[2]


def test_read_prompt_decides_what_is_sent_and_is_recorded() -> None:
    model = FakeChatModel(["Action: knock"])
    seen: list[Any] = []

    def read(prompt: str, goal: str, steps: Any, observation: Observation) -> str:
        seen.append((prompt, goal, len(steps), observation))
        return "only this"

    action = act(ChatActor(model, read_prompt=read), prompt="a long document", steps=[spoken(0)])
    assert seen == [("a long document", "Get out.", 1, HERE)]
    assert model.calls[0][0][0]["content"].startswith("only this\n\n")
    assert action.prompt_read == "only this"


def test_the_prompt_is_not_recorded_again_if_all_of_it_was_sent() -> None:
    assert act(ChatActor(FakeChatModel(["Action: knock"]))).prompt_read is None
    same = ChatActor(FakeChatModel(["Action: knock"]), read_prompt=lambda prompt, *rest: prompt)
    assert act(same).prompt_read is None


def test_the_fingerprint_changes_with_each_thing_that_decides_the_play() -> None:
    model = FakeChatModel([""])
    actors = [
        ChatActor(model),
        ChatActor(model, history_steps=3),
        ChatActor(model, list_actions=False),
        ChatActor(model, reply_format="act"),
        ChatActor(model, read_prompt=retrieve_items(3)),
        ChatActor(model, read_prompt=retrieve_items(4)),
    ]
    assert len({str(actor.fingerprint) for actor in actors}) == 6
    assert ChatActor(model).fingerprint == ChatActor(FakeChatModel(["x"])).fingerprint


def test_aclose_closes_the_model_if_it_can_be_closed() -> None:
    closed: list[bool] = []

    class Closing(FakeChatModel):
        async def aclose(self) -> None:
            closed.append(True)

    asyncio.run(ChatActor(Closing([""])).aclose())
    asyncio.run(ChatActor(FakeChatModel([""])).aclose())
    assert closed == [True]


# The cache of conversations -----------------------------------------------------------------------------


def test_another_list_at_the_same_address_never_gets_the_old_messages() -> None:
    actor, steps, other = ChatActor(FakeChatModel([""])), [spoken(1)], [spoken(2)]
    actor.messages("p", steps, HERE)
    entries = actor._conversations._entries
    entries[id(other)] = entries.pop(id(steps))  # as if `steps` was freed, and `other` got its address
    assert actor.messages("p", other, HERE) == ChatActor(FakeChatModel([""])).messages("p", other, HERE)


def test_messages_of_more_steps_than_the_list_holds_are_never_reused() -> None:
    actor, steps = ChatActor(FakeChatModel([""])), [spoken(1), spoken(2)]
    actor.messages("p", steps, HERE)
    steps.pop()
    assert actor.messages("p", steps, HERE) == ChatActor(FakeChatModel([""])).messages("p", steps, HERE)


def test_each_turn_of_an_episode_is_rendered_once() -> None:
    actor, steps, rendered = ChatActor(FakeChatModel([""])), list[Step](), list[Step]()
    render = actor._exchange
    actor._exchange = lambda before, step: (rendered.append(step), render(before, step))[1]  # type: ignore[method-assign]
    for number in range(5):
        actor.messages("p", steps, HERE)
        steps.append(spoken(number))
    assert rendered == steps[:-1]


# Stop strings and tools ---------------------------------------------------------------------------------


def test_a_call_asks_to_stop_before_an_invented_observation() -> None:
    model = FakeChatModel(["Action: knock"])
    act(ChatActor(model))
    assert model.calls[0][1].stop == tuple(ChatActor(model).fingerprint["reply_format"]["stop"]) == ("\nObservation:",)
