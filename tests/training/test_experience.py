"""Experience: collected in run folders, resumed after a stop, the same as JSONL and as Parquet."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from metagym.actor import ChatActor
from metagym.envs.gates.demo import GatesDemoReflector
from metagym.errors import BudgetExceededError, ConfigError, RunFolderError
from metagym.runs import LOG
from metagym.testing import FakeChatModel
from metagym.training.experience import (
    EXPERIENCE,
    collect,
    read_experience,
    to_experience,
    to_rows,
    write_jsonl,
    write_rows,
)
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


def test_a_collection_pays_for_no_call_twice_and_keeps_its_budget(make_gates: MakeGates, tmp_path: Path) -> None:
    asked: list[int] = []
    for num_loops, budget in ((2, 10_000), (2, 0), (3, 0)):
        model = FakeChatModel(["Thought: x\nAction: knock"])
        env = make_gates(ChatActor(model), max_steps=3, episodes_per_step=2, budget={"calls": sum(asked) or budget})
        with contextlib.suppress(BudgetExceededError):
            collected(env, tmp_path, num_loops=num_loops)
        asked.append(len(model.calls))
    assert asked == [2 * 2 * 2 * 3, 0, 0]


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


def test_a_prompt_with_unusual_line_breaks_is_read_back(tmp_path: Path) -> None:
    """JSON leaves U+2028 and U+0085 as they are, and `str.splitlines` splits there."""
    meta_step = make_meta_step([make_trajectory()]).model_copy(update={"prompt": "one\u2028two\u0085three"})
    experience = to_experience([[meta_step]], fingerprint="f")
    write_jsonl(experience, tmp_path / EXPERIENCE)
    assert read_experience(tmp_path) == experience


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
