"""Streams: families in order, one prompt carried on, and what is forgotten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import pytest

from metagym import MetaEnv, TaskSet, TextSpace
from metagym.budget import Budget
from metagym.envs.gates.demo import GatesDemoReflector
from metagym.errors import ConfigError, LeakError, RunFolderError
from metagym.evaluation.config import EvaluationConfig
from metagym.evaluation.family_stream import StreamReport, compare_streams, evaluate_stream
from metagym.evaluation.preset import load_preset, with_fields
from metagym.evaluation.store import read_report
from metagym.runs import Measurement, Role, RunFolder
from metagym.types import Action, Episode
from tests.conftest import MakeGates
from tests.evaluation import planted

FAMILIES = ("law-0007", "law-0500", "law-0900")
CONFIG = EvaluationConfig(families=FAMILIES, num_steps=12, episodes_per_step=1, num_seeds=3, num_test=8)


def test_the_demo_learns_each_family_and_forgets_the_one_before(make_gates: MakeGates, tmp_path: Path) -> None:
    report = evaluate_stream(make_gates(), GatesDemoReflector(), config=CONFIG, path=tmp_path)
    assert report.forgetting is not None
    assert report.forgetting.mean > 0.8
    assert [report.retention[block][block] for block in range(3)] != [None] * 3
    assert all(report.retention[block][block].mean > 0.8 for block in range(3))  # type: ignore[union-attr]
    assert (len(report.online), report.scripted) == (36, True)
    with RunFolder.open(tmp_path) as run:
        for seed in range(3):
            played = [item for item in run.all(Measurement).values() if item.role is Role.ONLINE and item.seed == seed]
            families = [item.family for item in played]
            order = list(dict.fromkeys(families))
            assert families == [family for family in order for _ in range(12)]
            assert all(item.task_ids[0].startswith(item.family) for item in played)
            assert len({item.task_ids for item in played}) == 36


def test_no_reflection_forgets_nothing(make_gates: MakeGates) -> None:
    report = evaluate_stream(make_gates(), "fixed", config=CONFIG.model_copy(update={"num_steps": 2}))
    assert report.forgetting is not None
    assert report.forgetting.mean == 0.0
    assert StreamReport.model_validate_json(report.model_dump_json()) == report


def test_streams_are_compared_by_their_online_scores(make_gates: MakeGates) -> None:
    arms = [("demo", "demo", "method"), ("fixed", "no reflection", "null control")]
    reports = [evaluate_stream(make_gates(), name, config=CONFIG, arm=arm, kind=kind) for name, arm, kind in arms]  # type: ignore[arg-type]
    (found,) = compare_streams(reports)
    assert found.online is not None
    expected = reports[0].online_mean.mean - reports[1].online_mean.mean  # type: ignore[union-attr]
    assert found.online.mean == pytest.approx(expected)
    assert (found.second_kind, found.verdict) == ("null control", "demo is better than no reflection")
    other = evaluate_stream(make_gates(), "fixed", config=CONFIG.model_copy(update={"num_steps": 2}))
    with pytest.raises(ConfigError, match="to be streams of one protocol, got two"):
        compare_streams([reports[0], other])


def test_streams_that_were_measured_differently_are_not_compared(make_gates: MakeGates) -> None:
    config = CONFIG.model_copy(update={"num_steps": 2})
    first = evaluate_stream(make_gates(), "fixed", config=config, arm="a")
    other = evaluate_stream(make_gates("random", max_steps=5), "fixed", config=config, arm="b")
    with pytest.raises(ConfigError, match=r"to be measured alike, but they differ in max_steps .*actor.kind"):
        compare_streams([first, other])
    assert compare_streams([first, other.model_copy(update={"measurement": {}})])  # a report of an older version


class OddLevels(gymnasium.Env[str, str]):
    """Level n is solved by any action if n is odd."""

    observation_space = action_space = TextSpace()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.level = seed or 0
        return f"level {seed}", {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        return "end", float(self.level % 2), True, False, {}


class OddLevelsMetaEnv(MetaEnv):
    @staticmethod
    def make_inner_env() -> gymnasium.Env[str, str]:
        return OddLevels()

    def make_task_set(self) -> TaskSet:
        return TaskSet.from_seeds(OddLevels, 2_000, families=["f", "g"])


class FailsAtTheEnd:
    """Its server is down for each task that it would have solved after the last block."""

    async def act(self, episode: Episode, *_: Any) -> Action:
        if episode.arm.endswith("stream test-1") and episode.task.seed % 2:
            raise ConnectionError("down")
        return Action(text="x")


def test_forgetting_is_paired_by_task_and_missing_scores_are_counted() -> None:
    config = EvaluationConfig(families=("f", "g"), num_steps=1, episodes_per_step=1, num_seeds=3, num_test=8, retries=0)
    with OddLevelsMetaEnv(actor=FailsAtTheEnd()) as env:
        report = evaluate_stream(env, "fixed", config=config)
    assert report.forgetting is not None
    assert report.forgetting.mean == 0.0
    assert report.notes[0].startswith("reflector: test scores missing because of infrastructure errors: ")


def test_the_power_of_streams_is_no_larger_than_their_scores(make_gates: MakeGates) -> None:
    report = evaluate_stream(make_gates(), "fixed", config=CONFIG.model_copy(update={"num_steps": 1}))
    reports = [report.model_copy(update={"online_by_seed": scores}) for scores in ((1.0, 0.5), (0.0, 1.0))]
    (found,) = compare_streams(reports)
    assert "2 seeds are too few to find any difference" in found.verdict


def test_the_interval_of_a_difference_of_streams_ends_at_the_bounds_of_the_scores(make_gates: MakeGates) -> None:
    report = evaluate_stream(make_gates(), "fixed", config=CONFIG)
    reports = [report.model_copy(update={"online_by_seed": scores}) for scores in ((0.9, 0.1), (0.1, 0.0))]
    (found,) = compare_streams(reports)
    assert found.online is not None
    assert (found.online.low, found.online.high) == (-1.0, 1.0)


def test_the_intervals_of_streams_of_returns_end_at_the_scores_seen(make_gates: MakeGates) -> None:
    report = evaluate_stream(make_gates(), "fixed", config=CONFIG)
    update: dict[str, Any] = {"score_bounds": None, "online_by_seed": (9.0, 1.0)}
    old = StreamReport.model_validate({**report.model_dump(), **update})
    assert (report.scale.of_scores, old.scale.of_scores) == ((0.0, 1.0), (0.0, 9.0))
    (found,) = compare_streams([old, report.model_copy(update={"online_by_seed": (0.1, 0.0)})])
    assert found.online is not None
    assert (found.online.low, found.online.high) == (-9.0, 9.0)


def test_a_stream_goes_on_over_its_folder(make_gates: MakeGates, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"num_steps": 2})
    first = evaluate_stream(make_gates(), "demo", config=config, path=tmp_path)
    log = tmp_path / "log.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole[: len(whole) // 2])
    assert evaluate_stream(make_gates(), "demo", config=config, path=tmp_path) == first
    assert sorted(log.read_bytes().splitlines()) == sorted(whole.splitlines())
    assert StreamReport.model_validate_json((tmp_path / "report.json").read_text()) == first
    with pytest.raises(RunFolderError, match=r"got a stream: its report is in report\.json"):
        read_report(tmp_path)


def test_the_test_tasks_of_a_stream_stay_closed_to_the_reflector(make_gates: MakeGates) -> None:
    env = make_gates()
    with pytest.raises(LeakError, match="to see none of the test tasks"):
        evaluate_stream(env, planted.leaker(env), config=CONFIG.model_copy(update={"num_steps": 2}))


@pytest.mark.parametrize("unfit", [{"test_repetitions": 2}, {"learning_budget": Budget(episodes=9)}])
def test_a_field_that_a_stream_has_no_use_for_is_refused(make_gates: MakeGates, unfit: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="Expected a stream without test_repetitions and learning_budget"):
        evaluate_stream(make_gates(), "fixed", config=CONFIG.model_copy(update=unfit))


def test_a_preset_of_a_stream_is_refused_with_test_repetitions() -> None:
    with pytest.raises(ConfigError, match="Expected a stream without test_repetitions"):
        with_fields(load_preset("stream"), {"test_repetitions": 2})


def test_what_is_no_meta_environment_is_refused() -> None:
    other: Any = type("Other", (), {"unwrapped": object()})()
    with pytest.raises(ConfigError, match="Expected a meta-environment, got object"):
        evaluate_stream(other, "demo", config=CONFIG)
