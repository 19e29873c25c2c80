"""The figures of a step's groups, and the files that hold them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from metagym.training.metrics import Group, append_lines, drop_from, group_metrics


def group(*rewards: float, lengths: tuple[int, ...] | None = None) -> Any:
    lengths = lengths or (2,) * len(rewards)
    samples = [SimpleNamespace(token_ids=(0,) * length, is_finished=length < 4) for length in lengths]
    return Group(0, 0, [[]] * len(samples), samples, np.array(rewards))  # type: ignore[arg-type]


def test_missing_rewards_are_left_out_and_counted() -> None:
    found = group_metrics([group(0.0, 1.0, math.nan), group(0.5, 0.5, 0.5), group(math.nan, math.nan, 0.3)])
    assert found["reward"] == pytest.approx((0.0 + 1.0 + 3 * 0.5 + 0.3) / 6)
    assert found["reward_spread"] == pytest.approx(0.5 / 3)
    assert found["missing_rewards"] == pytest.approx(3 / 9)
    assert found["no_signal"] == pytest.approx(2 / 3)


def test_a_step_without_any_reward_has_no_mean() -> None:
    found = group_metrics([group(math.nan, math.nan)])
    assert math.isnan(found["reward"])
    assert math.isnan(found["reward_spread"])
    assert (found["missing_rewards"], found["no_signal"]) == (1.0, 1.0)


def test_a_rounding_error_is_no_signal() -> None:
    assert group_metrics([group(0.3, 0.1 + 0.2)])["no_signal"] == 1.0


def test_length_and_cut_off_replies_are_counted() -> None:
    found = group_metrics([group(0.0, 1.0, lengths=(4, 1))])
    assert (found["length"], found["cut_off"]) == (2.5, 0.5)


def test_nan_and_infinity_are_null_in_the_file(tmp_path: Path) -> None:
    append_lines(tmp_path / "m.jsonl", [{"step": 0, "a": math.nan}, {"step": 1, "a": math.inf, "b": None}])
    found = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    assert found == [{"step": 0, "a": None}, {"step": 1, "a": None, "b": None}]


def test_lines_of_steps_that_will_be_written_again_are_dropped(tmp_path: Path) -> None:
    file = tmp_path / "m.jsonl"
    drop_from(file, 1)
    assert not file.exists()
    append_lines(file, [{"step": step} for step in range(4)])
    file.write_text(file.read_text() + '{"step": 4, "rew')
    drop_from(file, 2)
    assert [json.loads(line) for line in file.read_text().splitlines()] == [{"step": 0}, {"step": 1}]
