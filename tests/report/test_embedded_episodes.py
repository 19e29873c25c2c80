"""What the page unpacks is what was recorded."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

from metagym.budget.records import CallLog
from metagym.report.embedded_episodes import pack, pack_episodes
from metagym.report.run_reading import read_runs
from metagym.types import step_seed


def unpack(text: str) -> Any:
    return json.loads(gzip.decompress(base64.b64decode(text)))


def test_a_packed_value_comes_back_and_packs_alike() -> None:
    value = {"text": "</script><b>\x00\u202e", "list": [1, None, 0.5]}
    assert unpack(pack(value)) == value
    assert pack(value) == pack(value)
    assert "<" not in pack(value)


def test_each_row_of_the_index_finds_its_episode(learning: Path) -> None:
    runs = read_runs([learning], max_episodes=100)
    index, chunks = pack_episodes(runs)
    whole = [unpack(chunk) for chunk in chunks]
    assert [row["task"] for row in index["episodes"]] == [item.task.id for item in runs[0].episodes]
    for row, trajectory in zip(index["episodes"], runs[0].episodes, strict=True):
        episode = whole[row["chunk"]][row["at"]]
        assert index["prompts"][row["prompt"]] == trajectory.episode.prompt
        assert [step["text"] for step in episode["steps"]] == [step.observation.text for step in trajectory.steps]
        assert [step.get("action") for step in episode["steps"]] == [step.action.text for step in trajectory.steps]
        assert row["stop"] == trajectory.stop_reason.value
        assert row.get("success") == trajectory.success
    assert [row["invalid"] for row in index["episodes"]] == [0, 0, 1, 0, 0, 0]
    assert whole[0][2]["lists"] == [["push", "pull"]]
    assert whole[0][5]["error"] == "the road is closed"


def test_each_step_has_the_time_of_its_own_model_call_and_the_records_have_none(called: Path) -> None:
    log = CallLog(called / "calls.jsonl")
    calls = [attempt for attempt in log.read() if attempt.outcome == "whole"]
    slower = [call.model_copy(update={"working_s": 1.5 + call.number, "waiting_s": 0.25}) for call in calls]
    log.path.unlink()
    for attempt in slower:
        log.write(attempt)
    log.close()
    runs = read_runs([called], max_episodes=100)
    _, chunks = pack_episodes(runs)
    seconds = {call.seed: call.working_s for call in slower}
    assert len(set(seconds.values())) == len(calls) == 4
    for episode, trajectory in zip(unpack(chunks[0]), runs[0].episodes, strict=True):
        seeds = [step_seed(trajectory.episode.seed, number) for number in range(len(trajectory.steps))]
        assert [step["took"]["s"] for step in episode["steps"]] == [seconds[seed] for seed in seeds]
        assert all(step["took"]["waited"] == 0.25 for step in episode["steps"])
    assert "working_s" not in (called / "log.jsonl").read_text(encoding="utf-8")


def test_a_tested_prompt_has_the_number_that_it_was_chosen_by(campaign: Path) -> None:
    runs = read_runs([campaign / "demo"], max_episodes=10_000)
    index, _ = pack_episodes(runs)
    report = runs[0].report
    assert report is not None
    chosen = {(item.family, item.seed): item.chosen for item in report.prompts}
    rows = [row for row in index["episodes"] if row["phase"] == "test chosen"]
    assert {(row["family"], row["replicate"]): row["index"] for row in rows} == chosen
