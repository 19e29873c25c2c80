"""Measurements: fields that contradict each other are refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from metagym.runs import Measurement, Role
from metagym.types import Usage


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"scores": (1.0,)}, "Expected a score for each task, got 2 and 1"),
        ({"num_invalid": 3}, "no more invalid steps than steps, got index 0, 2 steps and 3 invalid ones"),
        ({"num_invalid": -1}, "2 steps and -1 invalid ones"),
        ({"index": -1}, "Expected an index from 0"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(changed: dict[str, Any], match: str) -> None:
    fields = {"family": "f", "seed": 0, "index": 0, "prompt": "p", "task_ids": ("a", "b"), "scores": (1.0, None)}
    fields |= {"num_steps": 2, "num_invalid": 2, "usage": Usage(), "scripted": False, "role": Role.ONLINE}
    assert Measurement(**fields).mean == 1.0
    with pytest.raises(ValidationError, match=match):
        Measurement(**{**fields, **changed})
