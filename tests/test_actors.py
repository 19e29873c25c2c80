"""Actors: the reply is read strictly, the conversation keeps goal and roles, the prompt's reading is recorded."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metagym import ChatActor
from metagym.actors import REPLY_FORMAT, FunctionActor, RandomActor, read_reply, retrieve_items
from metagym.errors import ConfigError
from metagym.testing import FakeChatModel
from metagym.types import Action, Observation, Step
from tests.conftest import make_episode, make_step, reply

WAYS = ("knock", "push")
HERE = Observation(text="You see a door.", goal="Get out.", available_actions=WAYS)


def act(actor: Any, *, steps: Any = (), observation: Observation = HERE, **episode: Any) -> Action:
    return asyncio.run(actor.act(make_episode(**episode), steps, observation))


# Reading a reply --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "Thought: It is shut.\nAction: knock",
        "Thought: It is shut.\n\nAction:knock\n",
        "thought: It is shut.\nACTION : knock",
        "**Thought:** It is shut.\n**Action:** knock",
        "**Thought**: It is shut.\n**Action**: `knock`",
        "Thought: It is shut.\n**Action: knock**",
        "*Thought:* It is shut.\n__Action:__ **knock**",
        "## Thought: It is shut.\n## Action: knock",
        "> Thought: It is shut.\n> Action: knock",
        "  Thought: It is shut.\n  Action: knock",
        "Thought: It is shut.\nAction:\nknock",
        "It is shut.\nAction: knock",
    ],
)
def test_markdown_around_markers_and_action_is_no_part_of_them(text: str) -> None:
    thought, action, problem = read_reply(reply(text))
    assert (thought.strip("> "), action, problem) == ("It is shut.", "knock", "")


@given(st.text(st.characters(categories=["L", "N", "P", "Zs"]), max_size=40))
def test_any_one_line_action_is_read_back(action: str) -> None:
    plain = " ".join(action.split())
    if plain.strip("*_`") != plain or not plain:
        return
    assert read_reply(reply(f"Thought: so be it\nAction: {plain}"))[1:] == (plain, "")


@given(st.text(max_size=60))
def test_any_reply_is_either_an_action_or_a_problem(text: str) -> None:
    _, action, problem = read_reply(reply(text))
    assert (action is None) == bool(problem)
    assert action is None or action.strip()


@pytest.mark.parametrize(
    ("text", "finish_reason", "told"),
    [
        ("", "stop", "Your reply was empty. Expected 'Action: <one action>'."),
        (" \n ", "stop", "Your reply was empty. Expected 'Action: <one action>'."),
        ("knock", "stop", "Your reply holds no line 'Action: <one action>'."),
        ("I choose the Action: knock", "stop", "Your reply holds no line 'Action: <one action>'."),
        ("Action: knock\nAction: push", "stop", "Your reply holds 2 lines 'Action: ...'; give exactly one."),
        ("Action: knock\nObservation: It opens.", "stop", "Expected one line after 'Action:' and nothing behind it."),
        ("Action:", "stop", "The line 'Action:' is empty."),
        ("Thought: hm\nAction: ****", "stop", "The line 'Action:' is empty."),
        ("Thought: hm\nAction: kno", "length", "Your reply was cut off before its end. Be brief."),
        ("Thought: and so on and", "length", "Your reply was cut off before its end. Be brief."),
    ],
)
def test_fault_4_a_reply_that_cannot_be_read_is_no_action(text: str, finish_reason: str, told: str) -> None:
    assert read_reply(reply(text, finish_reason=finish_reason))[1:] == (None, told)


def test_the_thought_is_kept_even_where_the_action_is_not() -> None:
    assert read_reply(reply("Thought: I wonder."))[0] == "I wonder."


def test_the_action_records_the_raw_reply() -> None:
    completion = reply("Thought: hm\nAction: **knock**")
    action = act(ChatActor(FakeChatModel([completion])))
    assert (action.text, action.thought, action.completion) == ("knock", "hm", completion)


# The conversation -------------------------------------------------------------------------------------


def spoken(number: int) -> Step:
    step = make_step(f"Room {number}.", f"go {number}", goal="Get out.", available_actions=WAYS)
    action = Action(text=f"go {number}", completion=reply(f"Thought: t{number}\nAction: go {number}"))
    return step.model_copy(update={"action": action})


def test_the_first_message_is_the_prompt_and_the_reply_format() -> None:
    messages = ChatActor(FakeChatModel([""])).messages("Be brave.", (), HERE)
    assert messages[0] == {"role": "system", "content": f"Be brave.\n\n{REPLY_FORMAT}"}


def test_a_turn_shows_the_observation_and_the_available_actions() -> None:
    messages = ChatActor(FakeChatModel([""])).messages("p", (), HERE)
    assert messages[1]["content"] == "Goal: Get out.\n\nYou see a door.\n\nAvailable actions: knock, push"


def test_the_list_of_actions_can_be_left_out() -> None:
    messages = ChatActor(FakeChatModel([""]), list_actions=False).messages("p", (), HERE)
    assert "Available actions" not in str(messages)


def test_feedback_is_shown_to_the_actor() -> None:
    observation = HERE.model_copy(update={"feedback": "'fly' is not an available action."})
    messages = ChatActor(FakeChatModel([""])).messages("p", (), observation)
    assert "Not executed: 'fly' is not an available action.\n\nYou see a door." in messages[-1]["content"]


def test_the_models_own_words_are_sent_back() -> None:
    messages = ChatActor(FakeChatModel([""])).messages("p", [spoken(1)], HERE)
    assert messages[2] == {"role": "assistant", "content": "Thought: t1\nAction: go 1"}


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
    from tests.conftest import make_task

    act(ChatActor(model), task=make_task(**{**task, "task_id": task.pop("id")}), arm="canary-arm", seed=123_454_321)
    sent = str(model.calls[0][0])
    assert not [word for word in ("canary", "987654321", "123454321") if word in sent]


def test_a_negative_history_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"history_steps must be 0 or more, or None for all, got -1"):
        ChatActor(FakeChatModel([""]), history_steps=-1)


# Chance -----------------------------------------------------------------------------------------------


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


# Reading the prompt -----------------------------------------------------------------------------------


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


def test_nothing_is_recorded_twice_where_the_whole_prompt_was_read() -> None:
    assert act(ChatActor(FakeChatModel(["Action: knock"]))).prompt_read is None
    same = ChatActor(FakeChatModel(["Action: knock"]), read_prompt=lambda prompt, *rest: prompt)
    assert act(same).prompt_read is None


DOCUMENT = """\
# Lessons
- When you see a door, knock.
- In the kitchen, wash the plate.
  It must be clean.
1. A lamp gives light.
Always be polite."""


def read_document(top_k: int, text: str, goal: str = "") -> str:
    return retrieve_items(top_k)(DOCUMENT, goal, (), Observation(text=text))


def test_retrieval_keeps_the_items_that_share_words_with_goal_and_observation() -> None:
    assert read_document(1, "You see a DOOR.") == "# Lessons\n- When you see a door, knock.\nAlways be polite."
    assert "wash the plate.\n  It must be clean." in read_document(1, "nothing", goal="put the plate away")


def test_retrieval_keeps_all_other_text_and_the_order() -> None:
    assert read_document(0, "door") == "# Lessons\nAlways be polite."
    assert read_document(99, "door") == DOCUMENT


def test_ties_go_to_the_earlier_item() -> None:
    assert "knock" in read_document(1, "xyzzy")


def test_a_rare_word_counts_more_than_a_common_one() -> None:
    prompt = "- gate gate one\n- gate two\n- oak three"
    assert retrieve_items(1)(prompt, "", (), Observation(text="the oak gate")) == "- oak three"


@given(st.text(max_size=80), st.integers(0, 5), st.text(max_size=20))
def test_retrieval_only_ever_leaves_lines_out(prompt: str, top_k: int, text: str) -> None:
    lines = iter(prompt.splitlines())
    assert all(line in lines for line in retrieve_items(top_k)(prompt, "", (), Observation(text=text)).splitlines())


def test_a_negative_top_k_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"top_k must be 0 or more, got -1"):
        retrieve_items(-1)


def test_below_a_heading_only_its_items_are_picked_from() -> None:
    prompt = "- sp one\n\n## Rules\n- rule\n\n## Memory\n- oak one\n  more\n- iron two\n\n## After\n- last"
    picked = retrieve_items(1, below="## Memory")(prompt, "", (), Observation(text="the iron gate"))
    assert picked == "- sp one\n\n## Rules\n- rule\n\n## Memory\n- iron two\n\n## After\n- last"
    assert retrieve_items(1, below="## Nothing")(prompt, "", (), Observation(text="the iron gate")) == prompt


# Fingerprints and the simple actors -------------------------------------------------------------------


def test_the_fingerprint_changes_with_each_thing_that_decides_the_play() -> None:
    model = FakeChatModel([""])
    actors = [
        ChatActor(model),
        ChatActor(model, history_steps=3),
        ChatActor(model, list_actions=False),
        ChatActor(model, read_prompt=retrieve_items(3)),
        ChatActor(model, read_prompt=retrieve_items(4)),
    ]
    assert len({str(actor.fingerprint) for actor in actors}) == 5
    assert ChatActor(model).fingerprint == ChatActor(FakeChatModel(["x"])).fingerprint


def test_aclose_closes_the_model_where_it_can_be_closed() -> None:
    closed: list[bool] = []

    class Closing(FakeChatModel):
        async def aclose(self) -> None:
            closed.append(True)

    asyncio.run(ChatActor(Closing([""])).aclose())
    asyncio.run(ChatActor(FakeChatModel([""])).aclose())
    assert closed == [True]


def test_the_random_actor_draws_from_the_episodes_seed() -> None:
    drawn = [[act(RandomActor(), seed=seed).text for seed in range(40)] for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert set(drawn[0]) == set(WAYS)


def test_the_random_actor_differs_from_turn_to_turn() -> None:
    assert len({act(RandomActor(), steps=[make_step()] * n).text for n in range(20)}) == 2


def test_the_random_actor_says_that_there_is_nothing_to_draw_from() -> None:
    action = act(RandomActor(), observation=Observation(text="x"))
    assert (action.text, action.problem) == (None, "There is no list of available actions to draw from.")


def test_a_plain_function_is_an_actor() -> None:
    assert act(FunctionActor(lambda episode, steps, observation: observation.available_actions[1])).text == "push"


def test_an_async_function_is_an_actor() -> None:
    async def play(episode: Any, steps: Any, observation: Any) -> Action:
        return Action(text="knock", thought="hm")

    assert act(FunctionActor(play)) == Action(text="knock", thought="hm")
