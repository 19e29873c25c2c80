"""Branches of recorded episodes are what the real environment answers to other actions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metagym.actor import ChatActor
from metagym.envs.gates.env import GATES, WAYS, law_of
from metagym.errors import ConfigError
from metagym.testing import FakeChatModel
from metagym.training.branching import branches
from metagym.training.export import actor_turns, write_turns
from metagym.types import Trajectory
from tests.conftest import MakeGates

LAW = "law-0042"


def play(make_gates: MakeGates, actor: ChatActor) -> tuple[list[Trajectory], Any]:
    env = make_gates(actor, max_steps=5)
    (meta_step,) = env.replay(["Be brave."], [f"{LAW}/1", f"{LAW}/2"])
    return list(meta_step.trajectories), env.make_inner_env


def test_a_branch_tells_what_the_law_says(make_gates: MakeGates) -> None:
    actor = ChatActor(FakeChatModel(["Thought: well\nAction: knock", "Action: no such way"] * 10))
    played, make_inner_env = play(make_gates, actor)
    found = list(branches(played, make_inner_env, actor, num_actions=len(WAYS)))
    steps = [(item, index) for item in played for index, step in enumerate(item.steps) if step.command is not None]
    assert len(found) == len(steps) * len(WAYS)
    opens = dict(zip(GATES, law_of(LAW).opens, strict=True))
    for turn in found:
        action = turn["messages"][-1]["content"].removeprefix("Action: ")
        gate = next(gate for gate in GATES if f"{gate} gate" in turn["completion"].partition(".")[2])
        assert (f"The {gate} gate opens" in turn["completion"]) == (opens[gate] == action)
        assert turn["taken"] == (action == "knock")


def test_two_episodes_of_one_task_are_two_groups(make_gates: MakeGates) -> None:
    actor = ChatActor(FakeChatModel(["Action: knock", "Action: push", "Action: sing", "Action: pull"] * 10))
    played, make_inner_env = play(make_gates, actor)
    found = list(branches([played[0], played[0]], make_inner_env, actor, num_actions=2))
    states = {(turn["group"], str(turn["messages"][:-1])) for turn in found}
    assert len(states) == len({turn["group"] for turn in found}) == 2 * len(played[0].steps)


def test_the_taken_branch_is_the_recorded_next_observation(make_gates: MakeGates) -> None:
    actor = ChatActor(FakeChatModel(["Action: knock", "Action: push", "Action: sing"] * 10))
    played, make_inner_env = play(make_gates, actor)
    found = [turn for turn in branches(played, make_inner_env, actor, num_actions=1) if turn["taken"]]
    after = [[step.observation for step in item.steps[1:]] + [item.final_observation] for item in played if item.steps]
    texts = [observation.text for item in after for observation in item if observation is not None]
    assert [turn["completion"] for turn in found] == texts
    assert found == [turn for turn in branches(played, make_inner_env, actor, num_actions=1) if turn["taken"]]


@pytest.mark.parametrize("read", ["Only this.", ""])
def test_the_messages_are_those_that_the_actor_got_also_if_it_read_the_prompt_in_its_own_way(
    make_gates: MakeGates, read: str
) -> None:
    model = FakeChatModel(["Action: knock"] * 10)
    actor = ChatActor(model, read_prompt=lambda *about: read)
    played, make_inner_env = play(make_gates, actor)
    sent = [messages for messages, _ in model.calls]
    branched = list(branches(played, make_inner_env, actor, num_actions=0))
    assert sorted(map(str, sent)) == sorted(str(turn["messages"][:-1]) for turn in branched)
    assert sorted(map(str, sent)) == sorted(str(turn["messages"]) for turn in actor_turns(played, actor))


def test_an_environment_without_a_list_of_actions_is_refused(make_gates: MakeGates) -> None:
    actor = ChatActor(FakeChatModel(["Action: knock"] * 10))
    played, make_inner_env = play(make_gates, actor)
    step = played[0].steps[0]
    bare = step.model_copy(update={"observation": step.observation.model_copy(update={"available_actions": None})})
    with pytest.raises(ConfigError, match="Expected lists of available actions"):
        list(branches([played[0].model_copy(update={"steps": (bare,)})], make_inner_env, actor))


@pytest.mark.train
def test_the_loader_of_trainers_reads_them_back(make_gates: MakeGates, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="needs metagym[train]")
    actor = ChatActor(FakeChatModel(["Action: knock"] * 10))
    played, make_inner_env = play(make_gates, actor)
    made = list(branches(played, make_inner_env, actor))
    write_turns(made, tmp_path / "branches.jsonl")
    read = datasets.load_dataset("json", data_files=str(tmp_path / "branches.jsonl"), cache_dir=str(tmp_path))["train"]
    assert read.to_list() == made
