"""Questions, the meta-environment: a file becomes one, and it keeps the contract."""

from __future__ import annotations

import json
from pathlib import Path

import gymnasium
import pytest

import metagym
from metagym.errors import ConfigError
from metagym.testing import check_meta_env

ROWS = [
    {"q": f"Which number follows {n}?", "a": str(n + 1), "fold": ("train", "dev", "test")[n % 3]} for n in range(60)
]
COLUMNS = {"question": "q", "answer": "a", "split_column": "fold"}


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "quiz.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return str(path)


def test_a_file_of_questions_keeps_the_contract(file: str) -> None:
    check_meta_env("MetaGym/Questions-v0", rows=file, **COLUMNS, episodes_per_step=3)


def test_a_file_without_train_questions_keeps_the_contract_too(file: str, tmp_path: Path) -> None:
    rows = [{**row, "fold": "test"} for row in ROWS]
    path = tmp_path / "test.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    check_meta_env("MetaGym/Questions-v0", rows=str(path), **COLUMNS, split="test", episodes_per_step=2)


@pytest.mark.parametrize("options", [{"question": "q"}, {"split_column": "fold"}, {"score": "no such score"}])
def test_options_of_rows_are_refused_without_rows(options: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="Expected no column and no score without rows"):
        metagym.make("MetaGym/Questions-v0", **options)


def test_the_sample_rises_under_its_demo() -> None:
    with metagym.make("MetaGym/Questions-v0", actor="demo", episodes_per_step=20) as env:
        result = metagym.optimize(env, env.unwrapped.make_demo_reflector(), num_steps=3, seed=0)
    assert result.rewards[0] < 0.8
    assert result.rewards[1:] == (1.0, 1.0)


def test_an_episode_is_one_question_and_the_reflector_reads_the_answer(file: str) -> None:
    with metagym.make("MetaGym/Questions-v0", rows=file, **COLUMNS, actor="demo") as env:
        env.reset(seed=0)
        trajectories, reward, *_ = env.step("p")
    assert reward == 0.0
    for trajectory in trajectories:
        assert len(trajectory.steps) == 1
        assert trajectory.success is False
        assert trajectory.final_observation is not None
        assert trajectory.final_observation.text == f"The answer is: {ROWS[trajectory.task.seed - 1]['a']}"


def test_worker_processes_play_the_same_questions(file: str) -> None:
    played = []
    for workers in ("local", 1):
        with metagym.make("MetaGym/Questions-v0", rows=file, **COLUMNS, actor="demo", workers=workers) as env:
            env.reset(seed=3)
            played.append(env.step("p")[0])
    assert played[0] == played[1]


def test_another_answer_is_another_measurement(file: str) -> None:
    other = [{**row, "a": "1"} for row in ROWS]
    made = [gymnasium.make("MetaGym/Questions-v0", rows=rows, **COLUMNS, actor="demo") for rows in (ROWS, file, other)]
    fingerprints = [env.unwrapped.fingerprint["inner"]["questions"] for env in made]
    assert fingerprints[0] != fingerprints[2]
    for env in made:
        env.close()
