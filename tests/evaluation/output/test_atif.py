"""Parquet and ATIF hold every score and every episode of a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metagym.errors import ConfigError
from metagym.evaluation import EvaluationConfig, evaluate
from metagym.evaluation.output.atif import to_atif, write_atif
from metagym.evaluation.output.exports import COLUMNS, write_parquet
from metagym.runs import Measurement, RunFolder
from metagym.types import Action, Completion, Observation, Usage
from tests.adapter.playing import play_scales
from tests.conftest import MakeGates, make_step, make_trajectory

CONFIG = EvaluationConfig(families=("law-0007",), num_steps=2, num_seeds=2, num_validation=3, num_test=4)


@pytest.fixture
def run(make_gates: MakeGates, tmp_path: Path) -> Path:
    evaluate(make_gates(), "demo", config=CONFIG, path=tmp_path / "run")
    return tmp_path / "run"


def test_the_parquet_table_holds_every_score(run: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    with RunFolder.open(run) as folder:
        num_rows = write_parquet(folder, tmp_path / "scores.parquet")
        expected = [score for item in folder.all(Measurement).values() for score in item.scores]
    table = parquet.read_table(tmp_path / "scores.parquet")
    assert (table.num_rows, tuple(table.column_names)) == (num_rows, COLUMNS)
    assert table.column("score").to_pylist() == expected
    assert set(table.column("arm").to_pylist()) == {"reflector"}


def test_every_episode_is_a_document_that_the_atif_package_accepts(run: Path, tmp_path: Path) -> None:
    atif = pytest.importorskip("atif")
    with RunFolder.open(run) as folder:
        num_documents = write_atif(folder, tmp_path / "atif")
        assert num_documents == folder.num_episodes
    for file in sorted((tmp_path / "atif").iterdir())[:40]:
        document = atif.Trajectory.model_validate(json.loads(file.read_text(encoding="utf-8")))
        assert document.schema_version == "ATIF-v1.7"
        assert [step.source for step in document.steps[:3]] == ["system", "user", "agent"]


def test_a_folder_with_documents_of_another_export_is_refused(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "atif"
    folder.mkdir()
    (folder / "notes.json").write_text("{}")
    with RunFolder.open(run) as record:
        number = write_atif(record, folder)
        before = {file: file.read_bytes() for file in folder.iterdir()}
        refusal = f"got {number} documents of an earlier export, .* Remove them, or name another folder"
        with pytest.raises(ConfigError, match=refusal):
            write_atif(record, folder)
    assert {file: file.read_bytes() for file in folder.iterdir()} == before


def test_a_models_reply_keeps_its_tokens_and_its_reasoning() -> None:
    atif = pytest.importorskip("atif")
    completion = Completion(
        text="Action: knock", reasoning="Hm.", usage=Usage(prompt_tokens=7, completion_tokens=2, num_calls=1),
        token_ids=(1, 2), logprobs=(-0.5, -0.25),
    )  # fmt: skip
    step = make_step().model_copy(update={"action": Action(text="knock", completion=completion)})
    refused = make_step(action=None)
    end = Observation(text="It is over.", feedback="'None' is not an available action.")
    document = to_atif(make_trajectory([step, refused], final_observation=end), trajectory_id="a", model_name="m")
    parsed = atif.Trajectory.model_validate(document)
    agent = parsed.steps[2]
    assert (agent.message, agent.reasoning_content, agent.llm_call_count) == ("Action: knock", "Hm.", 1)
    assert (agent.metrics.prompt_tokens, agent.metrics.completion_token_ids) == (7, [1, 2])
    assert parsed.steps[3].observation.results[0].content == "'None' is not an available action."
    extra = document["extra"]
    assert (extra["score"], extra["stop_reason"], extra["repetition"]) == (1.0, "terminated", 0)
    assert {"task", "arm", "meta_step", "success", "scripted"} < extra.keys()


def test_calls_of_one_reply_are_one_step_each_with_its_result() -> None:
    atif = pytest.importorskip("atif")
    document = to_atif(play_scales()[0], trajectory_id="a", model_name="m")
    parsed = atif.Trajectory.model_validate(document)
    agent = parsed.steps[2]
    assert agent.message == "First both."
    assert [(item.function_name, item.arguments) for item in agent.tool_calls] == [
        ("weigh", {"parcel": "a"}),
        ("weigh", {"parcel": "b"}),
    ]
    assert [item.source_call_id for item in agent.observation.results] == [i.tool_call_id for i in agent.tool_calls]
    assert agent.observation.results[0].content == '{"name":"a","weight":18}'
    assert [item["function"]["name"] for item in parsed.agent.tool_definitions] == ["weigh", "drop"]
    assert [(step.message, step.tool_calls) for step in parsed.steps[3:]] == [("a", None), ("b", None)]
