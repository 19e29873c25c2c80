"""Each method's own law."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metagym import ChatActor, optimize
from metagym.actors import retrieve_items
from metagym.errors import ConfigError
from metagym.reflectors.ace_style import AceStyle, Delta, apply_delta
from metagym.reflectors.document import MEMORY_HEADING, as_item
from metagym.reflectors.exemplars import Exemplars
from metagym.reflectors.expel_style import ExpelStyle, apply_changes
from metagym.reflectors.memory_stream import MemoryStream
from metagym.reflectors.opro_style import OproStyle, scored_prompts
from metagym.reflectors.reasoning_bank_style import ReasoningBankStyle
from metagym.reflectors.reflexion_style import ReflexionStyle
from metagym.reflectors.scripted_model import ScriptedReflectorModel
from metagym.reflectors.training_free_grpo_style import TrainingFreeGRPOStyle, contrasts
from metagym.testing import FakeChatModel
from metagym.types import MetaStep, Observation, Reflection, Trajectory
from tests.conftest import MakeGates, make_episode, make_meta_step, make_step, make_task, make_trajectory


def won(text: str = "You see a door.", **fields: Any) -> Trajectory:
    return make_trajectory([make_step(text)], **fields)


def lost(text: str = "You see a wall.", **fields: Any) -> Trajectory:
    return make_trajectory([make_step(text)], **{"success": False, "score": 0.0, **fields})


def run(reflector: Any, *batches: Sequence[Trajectory], rewards: Sequence[float] = ()) -> list[Reflection]:
    """Reflect on the batches one after another, as a loop does."""
    history: list[MetaStep] = []
    reflections: list[Reflection] = []
    for index, batch in enumerate(batches):
        before = reflections[-1] if reflections else None
        prompt = before.prompt if before else "Be brave."
        reward = rewards[index] if rewards else 0.0
        history.append(make_meta_step(batch, index=index, prompt=prompt, reflection=before, reward=reward))
        reflections.append(asyncio.run(reflector.reflect(history)))
    return reflections


def asked(model: FakeChatModel, call: int = -1) -> str:
    return model.calls[call][0][1]["content"]


# Reflexion --------------------------------------------------------------------------------------------


def numbered_lessons() -> FakeChatModel:
    return FakeChatModel(lambda messages, call: f"ANALYSIS: a\nLESSON: lesson {call.meta_step}")


def test_reflexion_keeps_the_last_few_lessons() -> None:
    reflections = run(ReflexionStyle(numbered_lessons(), num_lessons=2), *[[lost()]] * 4)
    assert [item.memory["lessons"] for item in reflections] == [
        ["lesson 0"],
        ["lesson 0", "lesson 1"],
        ["lesson 1", "lesson 2"],
        ["lesson 2", "lesson 3"],
    ]
    assert reflections[-1].prompt == "Be brave.\n\n## Lessons from earlier failures\n- lesson 2\n- lesson 3"


def test_reflexion_looks_at_failures_only_and_asks_nothing_without_any() -> None:
    model = numbered_lessons()
    first, second = run(ReflexionStyle(model), [lost(), won()], [won(), won()])
    assert "You see a wall." in asked(model)
    assert "You see a door." not in asked(model)
    assert len(model.calls) == 1
    assert (second.prompt, second.memory, second.problem) == (first.prompt, first.memory, "")


def test_reflexion_retries_the_same_tasks(make_gates: MakeGates) -> None:
    env = make_gates(schedule="same", episodes_per_step=1)
    history = optimize(env, ReflexionStyle(ScriptedReflectorModel()), 4, seed=0).history
    assert len({item.trajectories[0].task.id for item in history}) == 1
    assert [item.trajectories[0].episode.repetition for item in history] == [0, 1, 2, 3]
    assert (history[0].reward, history[-1].reward) == (0.0, 1.0)


# ExpeL ------------------------------------------------------------------------------------------------

RULES = [{"text": "Knock.", "count": 2}, {"text": "Push.", "count": 1}]


@pytest.mark.parametrize(
    ("reply", "rules"),
    [
        ("ADD: Sing.", [("Knock.", 2), ("Push.", 1), ("Sing.", 2)]),
        ("UPVOTE 1", [("Knock.", 3), ("Push.", 1)]),
        ("DOWNVOTE 1", [("Knock.", 1), ("Push.", 1)]),
        ("DOWNVOTE 2", [("Knock.", 2)]),
        ("DOWNVOTE 1\nDOWNVOTE 1", [("Push.", 1)]),
        ("EDIT 2: Push hard.", [("Knock.", 2), ("Push hard.", 2)]),
        ("**UPVOTE 2**\n- ADD: **Sing.", [("Knock.", 2), ("Push.", 2), ("Sing.", 2)]),
        ("DOWNVOTE 2\nADD: Push.", [("Knock.", 2), ("Push.", 2)]),
        ("ADD: knock.", [("Knock.", 2), ("Push.", 1)]),
        ("UPVOTE 7\nEDIT 0: no\nEDIT 1", [("Knock.", 2), ("Push.", 1)]),
        ("ADD: a\nADD: b\nADD: c", [("Knock.", 2), ("Push.", 1), ("a", 2), ("b", 2)]),
        ("NONE", [("Knock.", 2), ("Push.", 1)]),
    ],
)
def test_expel_counts_votes_and_removes_at_zero(reply: str, rules: list[tuple[str, int]]) -> None:
    before = json.dumps(RULES)
    assert [(rule["text"], rule["count"]) for rule in apply_changes(RULES, reply, max_rules=4)] == rules
    assert json.dumps(RULES) == before


def test_expel_shows_counts_and_writes_the_strongest_first() -> None:
    replies = ["ADD: Knock.\nADD: Push.", "UPVOTE 2", "NONE"]
    model = FakeChatModel(lambda messages, call: replies[call.meta_step])
    reflections = run(ExpelStyle(model), *[[lost()]] * 3)
    assert "1. Knock. (2)\n2. Push. (3)\n18 rules may be added." in asked(model)
    assert reflections[-1].prompt == "Be brave.\n\n## Rules\n- Push.\n- Knock."


def test_expel_keeps_the_latest_successes_as_examples_to_be_picked_from() -> None:
    model = FakeChatModel(lambda messages, call: "NONE")
    batches = [[won(f"door {number}"), lost(f"wall {number}")] for number in range(3)]
    last = run(ExpelStyle(model, max_examples=2), *batches)[-1]
    assert MEMORY_HEADING in last.prompt
    assert [f"door {number}" in last.prompt for number in range(3)] == [False, True, True]
    assert "wall" not in last.prompt


# OPRO -------------------------------------------------------------------------------------------------


def played(*items: tuple[str, float | None]) -> list[MetaStep]:
    return [make_meta_step(index=index, prompt=text, reward=reward) for index, (text, reward) in enumerate(items)]


def test_opro_orders_prompts_by_rising_score_and_ties_by_age() -> None:
    history = played(("a", 0.5), ("b", 0.2), ("c", 0.5), ("d", 0.9), ("a", 0.5), ("e", None))
    assert [tuple(item) for item in scored_prompts(history)] == [("b", 0.2), ("a", 0.5), ("c", 0.5), ("d", 0.9)]


def test_opro_scores_a_prompt_by_the_mean_of_its_batches() -> None:
    assert scored_prompts(played(("a", 0.0), ("b", 0.4), ("a", 1.0)))[-1] == ("a", 0.5)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from([0.0, 0.2, 0.5, 1.0])), min_size=1))
def test_opro_never_shows_a_better_prompt_before_a_worse_one(items: list[tuple[str, float]]) -> None:
    found = scored_prompts(played(*items))
    assert [item.score for item in found] == sorted(item.score for item in found)
    assert {item.prompt for item in found} == {prompt for prompt, _ in items}


def test_opro_shows_the_best_ones_last_and_leaves_out_the_worst() -> None:
    text = OproStyle(FakeChatModel([]), max_scored=2).text(played(("a", 0.9), ("b", 0.1), ("c", 0.5)))
    assert text.index("<tried score=0.50>\nc") < text.index("<tried score=0.90>\na")
    assert "\nb\n" not in text


def test_opro_plays_its_proposals_in_turn_and_then_asks_again() -> None:
    def propose(messages: Any, call: Any) -> str:
        known = "<prompt>Be brave.</prompt>"
        return known + "".join(f"<prompt>\np{call.meta_step}-{number}\n</prompt>" for number in range(3))

    model = FakeChatModel(propose)
    reflections = run(OproStyle(model, num_candidates=2), *[[lost()]] * 5)
    assert [item.prompt for item in reflections] == ["p0-0", "p0-1", "p2-0", "p2-1", "p4-0"]
    assert [call.meta_step for _, call in model.calls] == [0, 2, 4]
    assert [item.memory for item in reflections][:2] == [{"queue": ["p0-1"]}, {"queue": []}]


def test_opro_takes_no_prompt_that_was_tried() -> None:
    model = FakeChatModel(["<prompt>be  BRAVE.</prompt>"])
    assert "holds no new prompt" in run(OproStyle(model), [lost()])[0].problem


# ACE --------------------------------------------------------------------------------------------------


def item(number: int, text: str, helpful: int = 0, harmful: int = 0) -> dict[str, Any]:
    return {"id": number, "section": "S", "text": text, "helpful": helpful, "harmful": harmful}


PLAYBOOK = {"items": [item(1, "Knock.  twice", 2), item(2, "Push."), item(5, "Sing.")], "next_id": 6}

judgements = st.sampled_from(["helpful", "harmful", "neutral"])
tags = st.lists(st.fixed_dictionaries({"id": st.integers(0, 7), "tag": judgements}))
changes = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["ADD", "update", "REMOVE"]), "text": st.text(max_size=5)},
        optional={"id": st.integers(0, 7)},
    )
)


@given(tags, changes)
def test_ace_deltas_never_touch_what_they_do_not_name(tagged: list[Any], operations: list[Any]) -> None:
    before = json.dumps(PLAYBOOK)
    delta = Delta.model_validate({"tags": tagged, "operations": operations})
    after = {entry["id"]: entry for entry in apply_delta(PLAYBOOK, delta, max_items=99)["items"]}
    named = {tag["id"] for tag in tagged} | {change.get("id") for change in operations if change["type"] != "ADD"}
    for entry in PLAYBOOK["items"]:  # type: ignore[attr-defined]
        if entry["id"] not in named:
            assert after[entry["id"]] == entry
    assert json.dumps(PLAYBOOK) == before


def test_ace_counts_tags_and_applies_operations_by_id() -> None:
    delta = Delta.model_validate(
        {
            "tags": [{"id": 1, "tag": "helpful"}, {"id": 2, "tag": "harmful"}, {"id": 5, "tag": "neutral"}],
            "operations": [
                {"type": "UPDATE", "id": 2, "text": "Push hard."},
                {"type": "REMOVE", "id": 5},
                {"type": "ADD", "section": "T", "text": "Wait."},
                {"type": "ADD", "text": "wait."},
            ],
        }
    )
    after = apply_delta(PLAYBOOK, delta, max_items=9)
    new = {"id": 6, "section": "T", "text": "Wait.", "helpful": 0, "harmful": 0}
    assert after == {"items": [item(1, "Knock.  twice", 3), item(2, "Push hard.", 0, 1), new], "next_id": 7}


def test_ace_drops_the_worst_item_where_there_are_too_many() -> None:
    book = {"items": [item(1, "a", 1), item(2, "b", 1, 3), item(3, "c")], "next_id": 4}
    delta = Delta.model_validate({"operations": [{"type": "ADD", "text": "d"}]})
    assert [entry["id"] for entry in apply_delta(book, delta, max_items=3)["items"]] == [1, 3, 4]


def test_ace_shows_ids_and_counters_to_the_model_and_neither_to_the_actor() -> None:
    replies = [
        '{"operations": [{"type": "ADD", "section": "Gates", "text": "Knock."}]}',
        '```json\n{"tags": [{"id": 1, "tag": "helpful"}], "operations": []}\n```',
        '{"operations": []}',
    ]
    model = FakeChatModel(lambda messages, call: replies[call.meta_step])
    last = run(AceStyle(model), *[[lost()]] * 3)[-1]
    assert "[1] helpful=1 harmful=0 (Gates) Knock." in asked(model)
    assert last.prompt == "Be brave.\n\n## Playbook: Gates\n- Knock."


# ReasoningBank ----------------------------------------------------------------------------------------


def bank_reply(*titles: str) -> str:
    return json.dumps(
        {"items": [{"title": title, "description": "d", "content": f"About {title}."} for title in titles]}
    )


def test_the_reasoning_bank_takes_three_items_an_episode_and_repeats_none() -> None:
    model = FakeChatModel(lambda messages, call: bank_reply("oak", "iron", "stone", "glass"))
    (reflection,) = run(ReasoningBankStyle(model), [won(), lost()])
    assert [entry["title"] for entry in reflection.memory["items"]] == ["oak", "iron", "stone"]
    assert f"{MEMORY_HEADING}\n- **oak** d\n  About oak.\n- **iron** d" in reflection.prompt


def test_the_reasoning_bank_learns_from_successes_and_from_failures() -> None:
    model = FakeChatModel(lambda messages, call: bank_reply("oak"))
    run(ReasoningBankStyle(model), [won(), lost()])
    instructions = [messages[0]["content"] for messages, _ in model.calls]
    assert "The episode is a success. Say why it worked" in instructions[0]
    assert "The episode is a failure. Say what went wrong" in instructions[1]
    assert [call.repetition for _, call in model.calls] == [0, 1]


def test_the_self_judging_bank_hides_the_outcome_and_goes_by_the_judge() -> None:
    def respond(messages: Any, call: Any) -> str:
        if call.role == "judge":
            return '{"verdict": "failure"}' if "door" in messages[1]["content"] else "no idea"
        return bank_reply("oak")

    model = FakeChatModel(respond)
    (reflection,) = run(ReasoningBankStyle(model, self_judge=True), [won(), lost()])
    assert [call.role for _, call in model.calls] == ["judge", "judge", "reflector"]
    assert "The episode is a failure" in model.calls[-1][0][0]["content"]
    assert not [messages for messages, _ in model.calls if "Outcome" in messages[1]["content"]]
    assert "1 replies could not be read" in reflection.analysis


def test_the_bank_uses_what_it_can_read() -> None:
    model = FakeChatModel(lambda messages, call: bank_reply("oak") if call.repetition else "nothing")
    (reflection,) = run(ReasoningBankStyle(model), [won(), won()])
    assert (reflection.problem, len(reflection.memory["items"])) == ("", 1)


def test_the_actor_picks_the_bank_items_that_fit_its_task() -> None:
    model = FakeChatModel(lambda messages, call: bank_reply("oak", "iron", "stone"))
    (reflection,) = run(ReasoningBankStyle(model), [won()])
    prompt = f"{reflection.prompt}\n\n## Rules\n- Be quick."
    read = retrieve_items(1, below=MEMORY_HEADING)
    picked = read(prompt, "Pass the iron gate.", (), Observation(text="You stand before a gate."))
    assert picked == f"Be brave.\n\n{MEMORY_HEADING}\n- **iron** d\n  About iron.\n\n## Rules\n- Be quick."


# Training-free GRPO -----------------------------------------------------------------------------------


def of_task(task_id: str, score: float | None, text: str = "") -> Trajectory:
    success = None if score is None else score == 1.0
    return make_trajectory(
        [make_step(text or f"at {task_id}")],
        episode=make_episode(task=make_task(task_id)),
        score=score,
        success=success,
    )


def test_grpo_compares_within_a_task_where_the_scores_differ() -> None:
    a, b = of_task("a", 1.0), of_task("a", 0.0)
    c, d = of_task("b", 0.0), of_task("b", 0.0)
    failed = of_task("a", None)
    assert contrasts([(a, b, failed), (c, d)]) == [(a, b)]
    assert contrasts([(a, a), (c, d)]) == [(a, a, c, d)]
    assert contrasts([(c, d), (c, failed)]) == []
    assert contrasts([]) == []


def test_grpo_plays_each_task_as_a_group_and_pays_for_it(make_gates: MakeGates) -> None:
    env = make_gates("random", episodes_per_step=3, max_steps=4)
    optimize(env, TrainingFreeGRPOStyle(ScriptedReflectorModel(), group_size=4), 2, seed=0)
    assert env.ledger.num_episodes == 3 + 3 * 3 + 3


def test_grpo_asks_once_a_group_and_once_to_merge() -> None:
    calls: list[tuple[Any, Any, int]] = []

    async def replay(prompts: Any, task_ids: Any, *, repetitions: int = 1) -> tuple[MetaStep, ...]:
        calls.append((prompts, task_ids, repetitions))
        rolled = [of_task("a", 0.0, "rolled a"), of_task("b", 1.0, "rolled b"), of_task("c", 0.0)]
        return (make_meta_step(rolled),)

    def respond(messages: Any, call: Any) -> str:
        if "suggestions" in messages[0]["content"] and "<suggestions>" in messages[1]["content"]:
            modify = {"type": "modify", "number": 1, "text": "Knock twice."}
            return json.dumps({"operations": [modify, {"type": "ADD", "text": "n"}]})
        return json.dumps({"analysis": f"reply {call.repetition}", "experiences": ["Knock.", f"e{call.repetition}"]})

    model = FakeChatModel(respond)
    reflector = TrainingFreeGRPOStyle(model, group_size=2).bound_to(replay)
    batch = [of_task("a", 1.0), of_task("b", 0.0), of_task("c", 0.0)]
    first = run(reflector, batch)[0]
    assert calls == [(["Be brave."], ["a", "b", "c"], 1)]
    texts = [messages[1]["content"] for messages, _ in model.calls]
    assert ["rolled a" in text for text in texts] == [True, False, False]
    assert ["rolled b" in text for text in texts] == [False, True, False]
    assert "<suggestions>\n1. Knock.\n2. e0\n3. e1\n</suggestions>" in texts[2]
    assert [call.repetition for _, call in model.calls] == [0, 1, 2]
    assert (first.memory, first.analysis) == ({"experiences": ["n"]}, "reply 0\nreply 1")
    second = run(reflector, batch, batch)[1]
    assert second.memory == {"experiences": ["Knock twice.", "n"]}


def test_grpo_without_an_environment_says_how_to_get_one() -> None:
    with pytest.raises(ConfigError, match=r"not bound to an environment. Run it by `optimize` or `evaluate`"):
        run(TrainingFreeGRPOStyle(FakeChatModel([])), [lost()])


# Exemplars --------------------------------------------------------------------------------------------


def test_exemplars_hold_successful_episodes_only() -> None:
    batch = [
        won("a door"),
        lost("a wall"),
        won("a gap", score=None, success=None),
        won("a hole", success=None, score=0.5),
    ]
    (reflection,) = run(Exemplars(), batch)
    assert "a door" in reflection.prompt
    assert not [text for text in ("a wall", "a gap", "a hole") if text in reflection.prompt]
    assert reflection.completion is None


def test_exemplars_count_who_read_them_and_drop_the_least_useful() -> None:
    first = run(Exemplars(max_exemplars=2), [won("door one"), won("door two")])[0]
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


def test_an_actor_reads_the_exemplar_of_its_task() -> None:
    (reflection,) = run(Exemplars(), [won("An oak gate."), won("An iron gate."), won("A glass gate.")])
    model = FakeChatModel(["Action: open"])
    actor = ChatActor(model, read_prompt=retrieve_items(1, below=MEMORY_HEADING))
    action = asyncio.run(actor.act(make_episode(reflection.prompt), (), Observation(text="You see an iron gate.")))
    assert action.prompt_read is not None
    assert "An iron gate." in action.prompt_read
    assert "oak" not in model.calls[0][0][0]["content"]


# Memory stream ----------------------------------------------------------------------------------------


def test_the_stream_keeps_every_episode_that_counts_and_drops_the_oldest() -> None:
    batches = [[won("one")], [lost("two"), won("three", score=None)], [lost("four")]]
    last = run(MemoryStream(max_items=2), *batches)[-1]
    assert [entry["id"] for entry in last.memory["items"]] == [2, 3]
    assert [text in last.prompt for text in ("one", "two", "three", "four")] == [False, True, False, True]
    assert last.memory["next_id"] == 4


def test_the_model_refines_the_stream_by_id() -> None:
    replies = [
        '{"operations": [{"type": "REWRITE", "ids": [1], "text": "Note one."}]}',
        '{"operations": [{"type": "MERGE", "ids": [1, 2], "text": "Both."}, {"type": "PRUNE", "ids": [9]}]}',
        '{"operations": [{"type": "PRUNE", "ids": [1]}]}',
    ]
    model = FakeChatModel(lambda messages, call: replies[call.meta_step])
    reflections = run(MemoryStream(model), [won("one")], [won("two")], [won("three")])
    assert [[entry["id"] for entry in item.memory["items"]] for item in reflections] == [[1], [1], [3]]
    assert "[1] Note one.\n\n[2] An earlier episode:" in asked(model, 1)
    assert reflections[1].prompt == f"Be brave.\n\n{MEMORY_HEADING}\n- Both."


# What is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: ReflexionStyle(FakeChatModel([]), num_lessons=0), "num_lessons must be at least 1, got 0"),
        (lambda: ExpelStyle(FakeChatModel([]), max_rules=0), "max_rules must be at least 1, got 0"),
        (lambda: OproStyle(FakeChatModel([]), num_candidates=0), "num_candidates must be at least 1, got 0"),
        (lambda: AceStyle(FakeChatModel([]), max_items=0), "max_items must be at least 1, got 0"),
        (lambda: ReasoningBankStyle(FakeChatModel([]), max_items=0), "max_items must be at least 1, got 0"),
        (lambda: TrainingFreeGRPOStyle(FakeChatModel([]), group_size=1), "group_size must be at least 2, got 1"),
        (lambda: Exemplars(max_exemplars=0), "max_exemplars must be at least 1, got 0"),
        (lambda: MemoryStream(max_items=0), "max_items must be at least 1, got 0"),
    ],
)
def test_an_option_without_sense_is_refused(make: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        make()
