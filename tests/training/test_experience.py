"""Experience: collected in run folders, resumed after a stop, the same as JSONL and as Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metagym.envs.gates.demo import GatesDemoReflector
from metagym.errors import ConfigError, RunFolderError
from metagym.runs import LOG
from metagym.training.experience import (
    EXPERIENCE,
    collect,
    read_experience,
    to_experience,
    to_rows,
    write_rows,
)
from metagym.training.export import actor_turns, supervised_pairs, write_turns
from tests.conftest import MakeGates, make_meta_step, make_trajectory


def collected(env: Any, path: Path, **options: Any) -> Any:
    return collect(env, GatesDemoReflector(), path, **{"num_loops": 3, "num_steps": 2, **options})


def test_loops_become_tuples_of_prompt_trajectories_and_tasks(make_gates: MakeGates, tmp_path: Path) -> None:
    env = make_gates(episodes_per_step=2)
    experience = collected(env, tmp_path)
    assert [item.id for item in experience] == ["0000/0", "0000/1", "0001/0", "0001/1", "0002/0", "0002/1"]
    assert experience[0].prompt == env.default_prompt
    assert "when the gate is" in experience[1].prompt
    assert all(len(item.task_ids) == 2 for item in experience)
    assert len({item.task_ids for item in experience}) == 6
    assert read_experience(tmp_path) == experience


def test_a_stopped_collection_resumes_to_the_same_file(make_gates: MakeGates, tmp_path: Path) -> None:
    env = make_gates(episodes_per_step=2)
    collected(env, tmp_path)
    whole, played = (tmp_path / EXPERIENCE).read_bytes(), env.ledger.num_episodes
    log = tmp_path / "loops" / "0001" / LOG
    log.write_bytes(log.read_bytes()[:-200])
    (tmp_path / EXPERIENCE).unlink()
    collected(env, tmp_path)
    assert (tmp_path / EXPERIENCE).read_bytes() == whole
    assert env.ledger.num_episodes - played <= 2
    more = collected(env, tmp_path, num_loops=4)
    assert len(more) == 8
    assert more[:6] == read_experience_text(whole, tmp_path)


def read_experience_text(content: bytes, tmp_path: Path) -> Any:
    (tmp_path / "before.jsonl").write_bytes(content)
    return read_experience(tmp_path / "before.jsonl")


def test_replays_after_collecting_are_not_part_of_a_loop(make_gates: MakeGates, tmp_path: Path) -> None:
    env = make_gates(episodes_per_step=2)
    last = collected(env, tmp_path)[-1]
    log = tmp_path / "loops" / "0002" / LOG
    content, played = log.read_bytes(), env.ledger.num_episodes
    env.replay([last.prompt, last.prompt], last.task_ids)
    assert env.ledger.num_episodes - played == 4
    assert log.read_bytes() == content


def test_loops_of_another_environment_are_refused(make_gates: MakeGates, tmp_path: Path) -> None:
    collected(make_gates(episodes_per_step=2), tmp_path)
    with pytest.raises(RunFolderError, match="fingerprint differs"):
        collected(make_gates(episodes_per_step=3), tmp_path)
    with pytest.raises(ConfigError, match="another seed or length"):
        collected(make_gates(episodes_per_step=2), tmp_path, seed=1)


def test_a_meta_step_with_a_failed_episode_is_left_out() -> None:
    failed = make_meta_step([make_trajectory(score=None)])
    good = make_meta_step([make_trajectory()], index=1)
    assert [item.id for item in to_experience([[failed, good]], fingerprint="f")] == ["0000/1"]


@pytest.mark.train
def test_parquet_holds_the_same(make_gates: MakeGates, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="needs metagym[train]")
    experience = collected(make_gates(episodes_per_step=2), tmp_path)
    write_rows(to_rows(experience), tmp_path / "experience.parquet")
    assert read_experience(tmp_path / "experience.parquet") == experience
    assert set(to_rows(experience)[0]) == {"id", "prompt", "task_ids", "reward", "fingerprint", "record"}


def test_missing_broken_and_empty_data_are_refused(make_gates: MakeGates, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"found no file\. Make it: metagym train collect"):
        read_experience(tmp_path)
    experience = collected(make_gates(episodes_per_step=2), tmp_path)
    with pytest.raises(ConfigError, match="Expected experience with the fingerprint other"):
        read_experience(tmp_path, fingerprint="other")
    assert read_experience(tmp_path, fingerprint=experience[0].fingerprint) == experience
    (tmp_path / EXPERIENCE).write_text('{"id": 3}\n')
    with pytest.raises(ConfigError, match="got a broken line"):
        read_experience(tmp_path)
    (tmp_path / EXPERIENCE).write_text("")
    with pytest.raises(ConfigError, match="got an empty file"):
        read_experience(tmp_path)


def test_missing_rewards_and_equal_rewards_give_no_pair(tmp_path: Path) -> None:
    def turn(group: str, reward: float | None, completion: str) -> dict[str, Any]:
        return {"group": group, "reward": reward, "completion": completion, "messages": [{"role": "user"}]}

    turns = [turn("a", 0.1, "x"), turn("a", 0.9, "y"), turn("b", 0.5, "z"), turn("b", 0.5, "w"), turn("c", None, "v")]
    pairs = supervised_pairs(turns)
    assert pairs == [{"messages": [{"role": "user"}, {"role": "assistant", "content": "y"}]}]
    assert write_turns(turns, tmp_path / "turns.jsonl") == 5


def test_actor_turns_are_what_was_sent_and_replied(make_gates: MakeGates) -> None:
    from metagym.actors import ChatActor
    from metagym.testing import FakeChatModel

    model = FakeChatModel(["Thought: well\nAction: knock"] * 10)
    actor = ChatActor(model)
    env = make_gates(actor)
    (meta_step,) = env.replay(["Be brave."], ["law-0042/1"])
    turns = list(actor_turns(meta_step.trajectories, actor))
    assert [turn["messages"] for turn in turns] == [messages for messages, _ in model.calls]
    assert {turn["reward"] for turn in turns} == {meta_step.reward}
    scripted = make_gates()
    assert list(actor_turns(scripted.replay(["p"], ["law-0042/1"])[0].trajectories, actor)) == []
