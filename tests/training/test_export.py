"""Turns and pairs for other trainers: those of a training run, and those of an actor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metagym.actor import ChatActor
from metagym.errors import ConfigError
from metagym.testing import FakeChatModel
from metagym.training.experience import Experience
from metagym.training.export import (
    FIELDS,
    actor_turns,
    best_turns,
    good_turns,
    preferences,
    reflector_turns,
    write_turns,
)
from tests.adapter.playing import play_scales
from tests.conftest import MakeGates


def test_missing_rewards_and_equal_rewards_give_no_pair(tmp_path: Path) -> None:
    def turn(group: str, reward: float | None, completion: str) -> dict[str, Any]:
        return {"group": group, "reward": reward, "completion": completion, "messages": [{"role": "user"}]}

    turns = [turn("a", 0.1, "x"), turn("a", 0.9, "y"), turn("b", 0.5, "z"), turn("b", 0.5, "w"), turn("c", None, "v")]
    pairs = best_turns(turns)
    assert pairs == [{"messages": [{"role": "user"}, {"role": "assistant", "content": "y"}]}]
    assert write_turns(turns, tmp_path / "turns.jsonl") == 5


def test_a_rounding_error_makes_no_pair_no_best_turn_and_no_good_one() -> None:
    def turn(group: str, reward: float, completion: str) -> dict[str, Any]:
        return {"group": group, "reward": reward, "completion": completion, "messages": [{"role": "user"}]}

    rounded = 0.1 + 0.2
    assert rounded > 0.3
    equal = [turn("a", 0.3, "x"), turn("a", rounded, "y")]
    assert preferences(equal) == best_turns(equal) == []
    (best,) = best_turns([*equal, turn("a", 0.0, "z")])
    assert best["messages"][-1]["content"] == "x", "the first of equal ones"
    assert good_turns([turn("a", rounded - 0.3, "x")]) == []


def test_preferences_are_the_best_and_the_worst_reply_to_one_conversation() -> None:
    def turn(group: str, reward: float | None, completion: str, asked: str = "?") -> dict[str, Any]:
        messages = [{"role": "user", "content": asked}]
        return {"group": group, "reward": reward, "completion": completion, "messages": messages}

    turns = [turn("a", 0.5, "x"), turn("a", 0.1, "w"), turn("a", 0.9, "y"), turn("a", None, "v")]
    other = [turn("b", 0.0, "x"), turn("b", 1.0, "y", "another question"), turn("c", 0.5, "z"), turn("c", 0.5, "z")]
    assert preferences([*turns, *other]) == [
        {
            "prompt": [{"role": "user", "content": "?"}],
            "chosen": [{"role": "assistant", "content": "y"}],
            "rejected": [{"role": "assistant", "content": "w"}],
        }
    ]


def test_distilled_turns_are_those_of_good_episodes_under_the_prompt_in_place(make_gates: MakeGates) -> None:
    replies = {"knock": "Thought: well\nAction: knock"}
    actor = ChatActor(FakeChatModel(lambda messages, call: replies["knock"]))
    env = make_gates(actor, score="progress")
    played = [meta_step.trajectories[0] for meta_step in env.replay(["Be brave."] * 2, ["law-0000/1"])]
    failed = played[1].model_copy(update={"score": 0.0})
    turns = list(actor_turns([played[0], failed], actor, prompt_in_place="Walk."))
    assert {turn["messages"][0]["content"].partition("\n")[0] for turn in turns} == {"Walk."}
    examples = good_turns(turns)
    assert len(examples) == len(played[0].steps)
    assert examples[0]["messages"][-1] == {"role": "assistant", "content": replies["knock"]}


@pytest.mark.train
def test_the_loader_of_trainers_reads_them_back(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="needs metagym[train]")
    messages = [{"role": "user", "content": "?"}]
    turns = [{"group": "a", "reward": reward, "completion": f"{reward}", "messages": messages} for reward in (0.0, 1.0)]
    for name, made in (("best", best_turns(turns)), ("preferences", preferences(turns)), ("good", good_turns(turns))):
        file = tmp_path / f"{name}.jsonl"
        write_turns(made, file)
        found = datasets.load_dataset("json", data_files=str(file), cache_dir=str(tmp_path))["train"]
        assert found.to_list() == made
        if name == "preferences":
            data_utils = pytest.importorskip("trl.data_utils", reason="needs TRL: pip install trl")
            assert data_utils.is_conversational(found[0])


def test_actor_turns_are_what_was_sent_and_replied(make_gates: MakeGates) -> None:
    model = FakeChatModel(["Thought: well\nAction: knock"] * 10)
    actor = ChatActor(model)
    env = make_gates(actor)
    (meta_step,) = env.replay(["Be brave."], ["law-0042/1"])
    turns = list(actor_turns(meta_step.trajectories, actor))
    assert [turn["messages"] for turn in turns] == [messages for messages, _ in model.calls]
    assert {turn["reward"] for turn in turns} == {meta_step.reward}
    scripted = make_gates()
    assert list(actor_turns(scripted.replay(["p"], ["law-0042/1"])[0].trajectories, actor)) == []


def test_turns_of_an_actor_with_tools_keep_calls_and_tools() -> None:
    trajectory, actor, _ = play_scales()
    turns = list(actor_turns([trajectory], actor))
    assert [len(turn["messages"]) for turn in turns] == [2, 5, 7]
    assert [len(turn["tool_calls"]) for turn in turns] == [2, 0, 0]
    assert turns[1]["messages"][2]["tool_calls"] == turns[0]["tool_calls"]
    assert [item["function"]["name"] for item in turns[2]["tools"]] == ["weigh", "drop"]
    worse = {**turns[0], "reward": 0.0, "completion": "worse", "tool_calls": []}
    (pair,) = best_turns([worse, turns[0]])
    reply = {"role": "assistant", "content": "First both.", "tool_calls": turns[0]["tool_calls"]}
    assert pair == {"messages": [*turns[0]["messages"], reply], "tools": turns[0]["tools"]}


@pytest.mark.train
def test_samples_are_exported_as_turns_and_pairs(
    tiny_start: Path, experience: list[Experience], env: Any, tmp_path: Path
) -> None:
    from tests.training.test_trainer import GRPO, run

    run(tiny_start, experience, env, tmp_path, steps=2)
    turns = list(reflector_turns(tmp_path))
    assert len(turns) == 2 * GRPO.groups_per_step * GRPO.group_size
    assert all(tuple(turn) == FIELDS for turn in turns)
    assert all(len(turn["token_ids"]) == len(turn["logprobs"]) for turn in turns)
    groups = {turn["group"] for turn in turns}
    pairs = best_turns(turns)
    assert 0 < len(pairs) <= len(groups)
    best = {(turn["group"], turn["reward"], turn["completion"]) for turn in turns}
    for pair in pairs:
        assert pair["messages"][-1]["role"] == "assistant"
        assert any(completion == pair["messages"][-1]["content"] for _, _, completion in best)


def test_turns_that_cannot_be_read_leave_the_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "turns.jsonl"
    file.write_text("before")
    with pytest.raises(ConfigError):
        write_turns(reflector_turns(tmp_path / "no run"), file)
    assert file.read_text() == "before"
