"""The option `workers`: what it takes, what it refuses, and what it makes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from metagym.cli.options import read_pairs
from metagym.config import MetaEnvConfig, read_options
from metagym.errors import ConfigError, UnknownNameError
from metagym.workers import LocalWorkers, ProcessWorkers, WorkerOptions, make_workers, read_workers
from tests.conftest import CorridorEnv, MakeGates
from tests.workers.naughty import Naughty

ALL_LIMITS = {"processes": 2, "step_timeout_s": 20, "start_timeout_s": 900, "memory_mib": 4_000, "recycle_after": 100}


@pytest.mark.parametrize("value", ["local", "ray", 1, 16, ALL_LIMITS, {"ray": "all"}, {"ray": 8, "recycle_after": 3}])
def test_a_legal_value_comes_back_equal_from_json(value: Any) -> None:
    config = read_options({"workers": value})
    assert MetaEnvConfig.model_validate_json(config.model_dump_json()) == config
    assert read_options(dict(config)) == config
    assert read_workers(json.loads(json.dumps(value))) == config.workers


@pytest.mark.parametrize("value", ["locale", "4", 0, -1, True, 1.5, None, [], [2]])
def test_another_value_is_refused_with_the_legal_ones(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"workers expects 'local', 'ray', a number of processes .* got "):
        read_options({"workers": value})


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (
            {"processes": 4, "step_timeout_s": 0},
            r"Key of workers 'step_timeout_s' got 0: Input should be greater than 0\.",
        ),
        ({"processes": 0}, r"Key of workers 'processes' got 0: Input should be greater than or equal to 1\."),
        ({"processes": "many"}, r"Key of workers 'processes' got 'many': Input should be a valid integer"),
        ({"processes": 1, "start_timeout_s": 0}, r"Key of workers 'start_timeout_s' got 0"),
        ({"processes": 1, "memory_mib": 0}, r"Key of workers 'memory_mib' got 0"),
        ({"processes": 1, "recycle_after": 0}, r"Key of workers 'recycle_after' got 0"),
        ({"ray": 0}, r"Key of workers 'ray' got 0"),
        ({"step_timeout_s": 20}, r"one of 'processes' and 'ray' .* got processes=None and ray=None"),
        ({"processes": 1, "ray": 1}, r"one of 'processes' and 'ray' .* got processes=1 and ray=1"),
    ],
)
def test_a_mapping_is_refused_with_the_key_and_the_reason(value: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        read_options({"workers": value})


def test_an_unknown_key_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown key of workers 'proceses'.* Did you mean 'processes'\?"):
        read_options({"workers": {"proceses": 4}})


def test_each_value_makes_its_kind_of_workers() -> None:
    def make(value: Any) -> Any:
        workers = make_workers(read_workers(value), CorridorEnv, lambda: Naughty)
        workers.close()
        return workers

    assert isinstance(make("local"), LocalWorkers)
    assert isinstance(make(2), ProcessWorkers)
    workers = make(ALL_LIMITS)
    assert isinstance(workers, ProcessWorkers)
    assert workers._limits == WorkerOptions(**ALL_LIMITS)


def test_the_limits_of_the_option_reach_the_processes(make_gates: MakeGates) -> None:
    with make_gates(workers={"processes": 1, "recycle_after": 2}, episodes_per_step=5, max_concurrency=1) as env:
        env.reset(seed=0)
        assert len(env.step("a")[0]) == 5
        assert env._workers._workers[0]._num_episodes == 1  # type: ignore[union-attr]


def test_the_command_line_takes_the_mapping_as_json() -> None:
    options = read_pairs(['workers={"processes": 4, "step_timeout_s": 20}'])
    assert read_options(options).workers == WorkerOptions(processes=4, step_timeout_s=20)
